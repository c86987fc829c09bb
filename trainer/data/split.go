package data

import (
	"cmp"
	"math"
	"slices"

	"github.com/shannon-control/scu/kernels/random"
)

// Split holds a share of the documents out for validation: round(fraction x
// documents), but at least one and never all. Which ones depends on the seed and on
// what they say alone: equal documents stay on one side, and rows that are added
// later move few others; of several files each gives its share, and what is held out
// of one is held out of all. A text that is one document gives its end, cut between two
// blocks. With fraction 0, or too little to share, val is empty and train is d. Both
// read from d and keep its order.
func (d *Dataset) Split(fraction float64, seed int64) (train, val *Dataset, err error) {
	var kept, held []doc
	if fraction > 0 {
		for from := 0; from < len(d.docs); { // file by file
			to := from + 1
			for to < len(d.docs) && d.docs[to].file == d.docs[from].file {
				to++
			}
			a, b := d.hold(d.docs[from:to], fraction, seed)
			kept, held = append(kept, a...), append(held, b...)
			from = to
		}
	}
	if len(d.files) > 1 {
		kept, held = alike(kept, held)
	}
	if train, err = d.of(kept, d.shares); err != nil {
		return nil, nil, err
	}
	if val, err = d.of(held, nil); err != nil {
		return nil, nil, err
	}
	if train.Blocks() == 0 || val.Blocks() == 0 {
		val, err = d.of(nil, nil)
		return d, val, err
	}
	return train, val, nil
}

// hold divides the documents of one file.
func (d *Dataset) hold(docs []doc, fraction float64, seed int64) (kept, held []doc) {
	if len(docs) == 1 && !d.files[docs[0].file].rows {
		return d.holdEnd(docs[0], fraction)
	}
	limit := heldBelow(docs, fraction, seed)
	for _, x := range docs {
		if place(x, seed) < limit {
			held = append(held, x)
		} else {
			kept = append(kept, x)
		}
	}
	return kept, held
}

// holdEnd cuts the last blocks off a document.
func (d *Dataset) holdEnd(x doc, fraction float64) (kept, held []doc) {
	blocks := (int(x.n) + d.size - 1) / d.size
	at := int32((blocks - HeldOut(blocks, fraction)) * d.size)
	if at >= x.n {
		return []doc{x}, nil
	}
	begin, end := x, x
	begin.cut, end.cut = true, true
	begin.n = at
	end.at, end.n = x.at+int64(at), x.n-at
	return []doc{begin}, []doc{end}
}

// alike moves documents that equal one that is held out to those, in their order.
func alike(kept, held []doc) (k, h []doc) {
	out := make(map[uint64]bool, len(held))
	for _, x := range held {
		out[x.hash] = true
	}
	for _, x := range kept {
		if out[x.hash] && !x.cut {
			held = append(held, x)
		} else {
			k = append(k, x)
		}
	}
	slices.SortStableFunc(held, func(a, b doc) int { return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.at, b.at)) })
	return k, held
}

// heldBelow is the place below which documents are held out.
func heldBelow(docs []doc, fraction float64, seed int64) uint64 {
	places := make([]uint64, len(docs))
	for i, x := range docs {
		places[i] = place(x, seed)
	}
	slices.Sort(places)
	n := HeldOut(len(docs), fraction)
	if n == 0 || places[0] == places[len(places)-1] {
		return 0
	}
	if limit := places[n-1]; limit < places[len(places)-1] {
		return limit + 1
	}
	return places[len(places)-1] // those with the last place, all equal, are kept
}

// place is where a document stands in the draw of a seed.
func place(x doc, seed int64) uint64 {
	return random.Key(uint64(seed), random.StreamOrder, splitCoordinate, x.hash)
}

// splitCoordinate stands where an epoch's number stands in the key of its order,
// so that the choice of Split is no epoch's order.
const splitCoordinate = math.MaxUint64

// HeldOut is how many of so many documents, or of the blocks of one text, are held
// out: none if there are fewer than two.
func HeldOut(n int, fraction float64) int {
	if fraction <= 0 || n < 2 {
		return 0
	}
	return min(max(int(math.Round(fraction*float64(n))), 1), n-1)
}

// Shared is how many of val's documents are also among train's.
func Shared(train, val *Dataset) (n int) {
	seen := make(map[uint64]bool, len(val.docs))
	for _, x := range val.docs {
		seen[x.hash] = false
	}
	for _, x := range train.docs {
		if _, ok := seen[x.hash]; ok {
			seen[x.hash] = true
		}
	}
	for _, x := range val.docs {
		if seen[x.hash] {
			n++
		}
	}
	return n
}
