package data

import (
	"fmt"
	"iter"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/random"
)

// Dataset is documents packed into blocks of tokens, in a fixed order. It is safe
// for concurrent use.
type Dataset struct {
	*layout
	docs    []doc
	packing string
	eos     int32
	shares  []float64 // of each file's tokens in an epoch; nil: each is read once
}

// newDataset packs documents.
func newDataset(files []*tokenFile, docs []doc, size int, packing string, eos int32, shares []float64) (*Dataset, error) {
	l, err := lay(files, docs, size, packing)
	if err != nil {
		return nil, fmt.Errorf("training data: %w", err)
	}
	d := &Dataset{layout: l, docs: docs, packing: packing, eos: eos, shares: shares}
	return d, d.weigh()
}

// of packs some of d's documents in the same way.
func (d *Dataset) of(docs []doc, shares []float64) (*Dataset, error) {
	return newDataset(d.files, docs, d.size, d.packing, d.eos, shares)
}

// Batch is rows of tokens as the model takes them: Targets[i] is the token that
// follows IDs[i] in its row, or -1 where nothing is predicted. Rows shorter than
// Len end in EOS without targets.
type Batch struct {
	Rows, Len    int
	IDs, Targets []int32 // [Rows*Len]
	// Starts[r*Len+i] is the position in row r where the document that token i
	// belongs to begins: it sees nothing before that, and positions begin anew there.
	// [Rows*Len]; nil if each row is one document.
	Starts []int32
}

// Close ends the Dataset and what Split made of it.
func (d *Dataset) Close() (err error) {
	for _, f := range d.files {
		if e := f.f.Close(); err == nil {
			err = e
		}
	}
	return err
}

// Documents is the number of documents.
func (d *Dataset) Documents() int { return len(d.docs) }

// Blocks is the number of blocks.
func (d *Dataset) Blocks() int { return len(d.lens) }

// Len is the number of tokens in block i.
func (d *Dataset) Len(i int) int { return int(d.lens[i]) }

// Tokens is the sum of all blocks.
func (d *Dataset) Tokens() int64 { return d.tokens }

// Longest is the number of tokens in the longest block, 0 if there is none.
func (d *Dataset) Longest() (longest int) {
	for _, n := range d.lens {
		longest = max(longest, int(n))
	}
	return longest
}

// Block reads block i: its tokens, their targets and starts, as in Batch.
func (d *Dataset) Block(i int) (Batch, error) { return d.batch([]int32{int32(i)}) }

// piecesOf are the pieces of block i.
func (d *Dataset) piecesOf(i int) []piece {
	from := int32(0)
	if i > 0 {
		from = d.ends[i-1]
	}
	return d.pieces[from:d.ends[i]]
}

// batch reads blocks as rows of one Batch.
func (d *Dataset) batch(which []int32) (Batch, error) {
	b := Batch{Rows: len(which)}
	several := false // documents in a row
	for _, i := range which {
		b.Len = max(b.Len, d.Len(int(i)))
		for _, p := range d.piecesOf(int(i))[1:] {
			several = several || !p.joined
		}
	}
	b.IDs, b.Targets = make([]int32, b.Rows*b.Len), make([]int32, b.Rows*b.Len)
	if several {
		b.Starts = make([]int32, b.Rows*b.Len)
	}
	for row, i := range which {
		at := row * b.Len
		n, err := d.read(int(i), b.IDs[at:at+b.Len], b.Targets[at:at+b.Len])
		if err != nil {
			return Batch{}, fmt.Errorf("training data: %w", err)
		}
		for t := n; t < b.Len; t++ {
			b.IDs[at+t], b.Targets[at+t] = d.eos, -1
		}
		if several {
			d.starts(int(i), b.Starts[at:at+b.Len])
		}
	}
	return b, nil
}

// read fills ids and targets from block i and returns its length.
func (d *Dataset) read(i int, ids, targets []int32) (n int, err error) {
	counts := make([]int32, d.Len(i)) // each token, or -1 if it doesn't count
	for _, p := range d.piecesOf(i) {
		to := n + int(p.n)
		if err := d.files[p.file].read(p.at, ids[n:to], counts[n:to]); err != nil {
			return 0, err
		}
		if !p.joined {
			counts[n] = -1
		}
		n = to
	}
	copy(targets, counts[1:])
	targets[n-1] = -1
	return n, nil
}

// starts fills starts for block i. What pads the row sees itself alone.
func (d *Dataset) starts(i int, starts []int32) {
	at, start := 0, 0
	for _, p := range d.piecesOf(i) {
		if !p.joined {
			start = at
		}
		for range p.n {
			starts[at] = int32(start)
			at++
		}
	}
	for ; at < len(starts); at++ {
		starts[at] = int32(at)
	}
}

// Batches gives all blocks in order, rows at a time: for validation.
func (d *Dataset) Batches(rows int) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for from := 0; from < d.Blocks(); from += rows {
			which := make([]int32, min(rows, d.Blocks()-from))
			for k := range which {
				which[k] = int32(from + k)
			}
			if b, err := d.batch(which); !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// shuffle is a random order of n things for a seed and an epoch.
func shuffle(n int, seed int64, epoch uint64) []int32 {
	return permutation(n, random.Key(uint64(seed), random.StreamOrder, epoch))
}

// permutation is a random order of n things, by Fisher and Yates, for a key.
func permutation(n int, key uint64) []int32 {
	order := make([]int32, n)
	for i := range order {
		order[i] = int32(i)
	}
	for i := n - 1; i > 0; i-- {
		j := int(random.Uniform(key, uint64(i)) * float64(i+1))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// PreviewToken is a token for people.
type PreviewToken = scu.DataToken

// Preview gives the tokens of the first n blocks.
func (d *Dataset) Preview(n int, tok Tokenizer) ([][]PreviewToken, error) {
	blocks := make([][]PreviewToken, min(n, d.Blocks()))
	for i := range blocks {
		b, err := d.Block(i)
		if err != nil {
			return nil, err
		}
		blocks[i] = make([]PreviewToken, b.Len)
		for t, id := range b.IDs {
			blocks[i][t] = PreviewToken{ID: id, Text: tok.Decode([]int32{id}, false), Counts: t > 0 && b.Targets[t-1] >= 0,
				Begins: t > 0 && b.Starts != nil && b.Starts[t] == int32(t)}
		}
	}
	return blocks, nil
}
