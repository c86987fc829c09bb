package data

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/shannon-control/scu"
)

// piece is a run of tokens of a file, as it lies in a block.
type piece struct {
	at   int64 // its first token's number in the file
	n    int32
	file int16 // which of a Dataset's
	// joined: it goes on from the piece before it in its block, which predicts its
	// first token. Else it begins a row, which sees nothing before it.
	joined bool
}

// layout lays documents into blocks of at most size tokens.
//
// The first token of a block, and of a row, is predicted by nothing. What then has
// no target would teach nothing and is left out: the end-of-text token alone after
// the last full block of a text, and what of a long prompt fills a block where
// completions alone count.
type layout struct {
	files []*tokenFile
	size  int

	pieces []piece
	ends   []int32 // where in pieces each block ends
	lens   []int32 // tokens of each block

	sources []source // the blocks of each file, one file after the other

	tokens, targets, leftOut int64
}

// lay lays documents, in their order and file by file, by one of scu.PackRows, PackJoined and
// PackOff. Texts that aren't rows are joined whatever it is.
func lay(files []*tokenFile, docs []doc, size int, packing string) (*layout, error) {
	l := &layout{files: files, size: size}
	for file := range files {
		n := 0
		for n < len(docs) && int(docs[n].file) == file {
			n++
		}
		s := source{from: len(l.lens)}
		before := l.tokens
		if err := l.layFile(docs[:n], files[file].rows && packing != scu.PackJoined, packing); err != nil {
			return nil, err
		}
		s.to, s.tokens = len(l.lens), l.tokens-before
		l.sources, docs = append(l.sources, s), docs[n:]
	}
	return l, nil
}

// layFile lays the documents of one file; apart: each sees itself alone.
func (l *layout) layFile(docs []doc, apart bool, packing string) error {
	if !apart {
		return l.join(docs)
	}
	whole, err := l.cut(docs)
	if err != nil {
		return err
	}
	if packing == scu.PackOff {
		for _, p := range whole {
			l.add(p)
		}
	} else {
		bestFit(whole, l.size, l.add)
	}
	return nil
}

// join lays documents of one file end to end and cuts them into blocks; the last
// may be short.
func (l *layout) join(docs []doc) error {
	var block []piece
	room := l.size
	closeBlock := func() error {
		if len(block) == 0 {
			return nil
		}
		n, err := l.count(block...)
		if err != nil {
			return err
		}
		l.keep(n, block...)
		block, room = block[:0], l.size
		return nil
	}
	for _, d := range docs {
		for done := int32(0); done < d.n; {
			n := min(d.n-done, int32(room))
			p := piece{file: int16(d.file), at: d.at + int64(done), n: n, joined: len(block) > 0}
			if last := len(block) - 1; last >= 0 && block[last].at+int64(block[last].n) == p.at {
				block[last].n += n
			} else {
				block = append(block, p)
			}
			done += n
			if room -= int(n); room == 0 {
				if err := closeBlock(); err != nil {
					return err
				}
			}
		}
	}
	return closeBlock()
}

// cut gives rows as pieces that fit a block, those without a target left out.
func (l *layout) cut(rows []doc) ([]piece, error) {
	whole := make([]piece, 0, len(rows))
	for _, d := range rows {
		for done := int32(0); done < d.n; done += int32(l.size) {
			p := piece{file: int16(d.file), at: d.at + int64(done), n: min(d.n-done, int32(l.size))}
			targets := int64(d.targets)
			if p.n < d.n {
				var err error
				if targets, err = l.count(p); err != nil {
					return nil, err
				}
			}
			if targets == 0 {
				l.leftOut += int64(p.n)
				continue
			}
			l.targets += targets
			whole = append(whole, p)
		}
	}
	return whole, nil
}

// keep adds a block with so many targets, or leaves it out.
func (l *layout) keep(targets int64, block ...piece) {
	if targets == 0 {
		for _, p := range block {
			l.leftOut += int64(p.n)
		}
		return
	}
	l.targets += targets
	l.add(block...)
}

// add adds a block.
func (l *layout) add(block ...piece) {
	l.pieces = append(l.pieces, block...)
	n := int32(0)
	for _, p := range block {
		n += p.n
	}
	l.ends, l.lens = append(l.ends, int32(len(l.pieces))), append(l.lens, n)
	l.tokens += int64(n)
}

// count is the number of targets of a block of pieces.
func (l *layout) count(block ...piece) (targets int64, err error) {
	for _, p := range block {
		f := l.files[p.file]
		counts := int64(p.n)
		first := !p.joined
		if f.partial {
			ids, marks := make([]int32, p.n), make([]int32, p.n)
			if err := f.read(p.at, ids, marks); err != nil {
				return 0, err
			}
			counts = 0
			for i, m := range marks {
				if m >= 0 && (i > 0 || !first) {
					counts++
				}
			}
		} else if first {
			counts--
		}
		targets += counts
	}
	return targets, nil
}

// bestFit puts pieces into blocks of at most size tokens, each whole: the longest
// first, each into the block that it fills best, which leaves at most a few per
// cent empty (Best Fit Decreasing; for packing of training data see
// arXiv:2404.10830). The outcome is a function of the lengths and their order.
// Within a block rows lie as in the file, and blocks by their first row.
func bestFit(whole []piece, size int, add func(...piece)) {
	slices.SortStableFunc(whole, func(a, b piece) int { return int(b.n - a.n) })
	var (
		next   = make([]int32, len(whole)) // the piece behind one in its block, or -1
		first  []int32                     // of each block
		last   []int32
		byRoom = make([][]int32, size+1)        // the blocks with so much room left
		some   = make([]uint64, (size+1+63)/64) // a bit for each room that some block has
	)
	for i, p := range whole {
		next[i] = -1
		room := atLeast(some, int(p.n))
		var block int32
		if room < 0 {
			block, room = int32(len(first)), size
			first, last = append(first, int32(i)), append(last, int32(i))
		} else {
			blocks := byRoom[room]
			block, byRoom[room] = blocks[len(blocks)-1], blocks[:len(blocks)-1]
			if len(byRoom[room]) == 0 {
				some[room/64] &^= 1 << (room % 64)
			}
			next[last[block]], last[block] = int32(i), int32(i)
		}
		room -= int(p.n)
		byRoom[room] = append(byRoom[room], block)
		some[room/64] |= 1 << (room % 64)
	}
	blocks := make([][]piece, len(first))
	for b, i := range first {
		for ; i >= 0; i = next[i] {
			blocks[b] = append(blocks[b], whole[i])
		}
		slices.SortFunc(blocks[b], piece.compare)
	}
	slices.SortFunc(blocks, func(a, b []piece) int { return a[0].compare(b[0]) })
	for _, block := range blocks {
		add(block...)
	}
}

// compare orders pieces as they lie in their files.
func (p piece) compare(q piece) int {
	return cmp.Or(cmp.Compare(p.file, q.file), cmp.Compare(p.at, q.at))
}

// atLeast is the lowest bit that is set from bit n on; -1 if none is.
func atLeast(set []uint64, n int) int {
	word := set[n/64] >> (n % 64) << (n % 64)
	for i := n / 64; ; word = set[i] {
		if word != 0 {
			return i*64 + bits.TrailingZeros64(word)
		}
		if i++; i == len(set) {
			return -1
		}
	}
}
