package data

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
)

// Dataset is blocks of tokens, in a fixed order. It is safe for concurrent use.
type Dataset struct {
	blocks *blockFile
	index  []int32 // which of the file's blocks; nil: all
	eos    int32
}

// Batch is rows of tokens as the model takes them: Targets[i] is the token that
// follows IDs[i] in its row, or -1 where nothing is predicted. Rows shorter than
// Len end in EOS without targets.
type Batch struct {
	Rows, Len    int
	IDs, Targets []int32 // [Rows*Len]
}

// Close ends the Dataset and what Split made of it.
func (d *Dataset) Close() error { return d.blocks.f.Close() }

// Blocks is the number of blocks.
func (d *Dataset) Blocks() int {
	if d.index != nil {
		return len(d.index)
	}
	return d.blocks.count()
}

// Len is the number of tokens in block i.
func (d *Dataset) Len(i int) int { return d.blocks.len(d.at(i)) }

// Tokens is the sum of all blocks: N of one epoch.
func (d *Dataset) Tokens() int64 {
	n := d.Blocks()
	if n == 0 {
		return 0
	}
	// Only the file's last block may be short, and the index ascends.
	return int64(n-1)*int64(d.blocks.size) + int64(d.Len(n-1))
}

// Longest is the number of tokens in the longest block, 0 where there is none.
func (d *Dataset) Longest() int {
	if d.Blocks() == 0 {
		return 0
	}
	return d.Len(0) // as in Tokens
}

// Block reads block i: its tokens and their targets, as in Batch.
func (d *Dataset) Block(i int) (ids, targets []int32, err error) {
	b, err := d.batch([]int32{int32(i)})
	return b.IDs, b.Targets, err
}

func (d *Dataset) at(i int) int {
	if d.index != nil {
		return int(d.index[i])
	}
	return i
}

// batch reads blocks as rows of one Batch.
func (d *Dataset) batch(which []int32) (Batch, error) {
	b := Batch{Rows: len(which)}
	for _, i := range which {
		b.Len = max(b.Len, d.Len(int(i)))
	}
	b.IDs, b.Targets = make([]int32, b.Rows*b.Len), make([]int32, b.Rows*b.Len)
	for row, i := range which {
		ids, targets := b.IDs[row*b.Len:(row+1)*b.Len], b.Targets[row*b.Len:(row+1)*b.Len]
		n := d.Len(int(i))
		if err := d.blocks.read(d.at(int(i)), ids[:n], targets[:n]); err != nil {
			return Batch{}, fmt.Errorf("training data: %w", err)
		}
		for t := n; t < b.Len; t++ {
			ids[t], targets[t] = d.eos, -1
		}
	}
	return b, nil
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

// Split holds a share of the blocks out for validation: round(fraction x blocks),
// but at least one and never all. Which ones depends on the seed alone. With
// fraction 0 or fewer than two blocks val is empty and train is d. Both read from
// d and keep its order.
func (d *Dataset) Split(fraction float64, seed int64) (train, val *Dataset) {
	n := d.Blocks()
	held := HeldOut(n, fraction)
	if held == 0 {
		return d, &Dataset{blocks: d.blocks, index: []int32{}, eos: d.eos}
	}
	order := shuffle(n, seed, splitCoordinate)
	for i := range order {
		order[i] = int32(d.at(int(order[i])))
	}
	slices.Sort(order[:held])
	slices.Sort(order[held:])
	return &Dataset{blocks: d.blocks, index: order[held:], eos: d.eos},
		&Dataset{blocks: d.blocks, index: order[:held:held], eos: d.eos}
}

// HeldOut is how many of so many blocks Split holds out.
func HeldOut(blocks int, fraction float64) int {
	if fraction <= 0 || blocks < 2 {
		return 0
	}
	return min(max(int(math.Round(fraction*float64(blocks))), 1), blocks-1)
}

// splitCoordinate stands where an epoch's number stands in the key of its order,
// so that the choice of Split is no epoch's order.
const splitCoordinate = math.MaxUint64

// shuffle is a random order of n things, by Fisher and Yates, for a seed and an
// epoch.
func shuffle(n int, seed int64, epoch uint64) []int32 {
	key := kernels.Key(uint64(seed), kernels.StreamOrder, epoch)
	order := make([]int32, n)
	for i := range order {
		order[i] = int32(i)
	}
	for i := n - 1; i > 0; i-- {
		j := int(kernels.Uniform(key, uint64(i)) * float64(i+1))
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
		ids, targets, err := d.Block(i)
		if err != nil {
			return nil, err
		}
		blocks[i] = make([]PreviewToken, len(ids))
		for t, id := range ids {
			blocks[i][t] = PreviewToken{ID: id, Text: tok.Decode([]int32{id}, false), Counts: t > 0 && targets[t-1] >= 0}
		}
	}
	return blocks, nil
}
