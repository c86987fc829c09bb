package model

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// Batch is rows of tokens for one micro-batch: IDs and Targets are [Rows, Len].
// Targets[i] is the token that follows position i, or -1 where none counts.
// Starts[i], also [Rows, Len], is the position in its row where the document that
// token i belongs to begins; nil: each row is one document. Documents of a row
// don't see each other, and positions begin anew in each.
type Batch struct {
	Rows, Len    int
	IDs, Targets []int32
	Starts       []int32
}

// Count is the number of predicted tokens.
func (b Batch) Count() (n int) {
	for _, t := range b.Targets {
		if t >= 0 {
			n++
		}
	}
	return n
}

// longest is the length of the longest document.
func (b Batch) longest() int {
	if b.Starts == nil {
		return b.Len
	}
	longest := 0
	for i, start := range b.Starts {
		longest = max(longest, i%b.Len-int(start)+1)
	}
	return longest
}

func (d *Decoder) check(b Batch, w *Workspace, start int) error {
	if b.Rows < 1 || b.Len < 1 || b.Rows*b.Len > w.rows || b.Rows > w.batch {
		return fmt.Errorf("a batch of %d rows of %d tokens doesn't fit the workspace of %d tokens", b.Rows, b.Len, w.rows)
	}
	if len(b.IDs) != b.Rows*b.Len || len(b.Targets) != len(b.IDs) || b.Starts != nil && len(b.Starts) != len(b.IDs) {
		return fmt.Errorf("a batch of %d x %d has %d ids, %d targets and %d starts", b.Rows, b.Len, len(b.IDs), len(b.Targets), len(b.Starts))
	}
	if start+b.Len > d.maxLen {
		return fmt.Errorf("rows up to position %d on a model that was loaded for %d", start+b.Len, d.maxLen)
	}
	for i, id := range b.IDs {
		if id < 0 || int(id) >= d.Spec.Vocab || int(b.Targets[i]) >= d.Spec.Vocab {
			return fmt.Errorf("token %d or target %d is outside the vocabulary of %d", id, b.Targets[i], d.Spec.Vocab)
		}
	}
	for i, s := range b.Starts {
		if at := i % b.Len; s < 0 || int(s) > at || at > 0 && s < b.Starts[i-1] {
			return fmt.Errorf("position %d of row %d belongs to a document that begins at %d", at, i/b.Len, s)
		}
	}
	return nil
}

// inputs are the micro-batches of a step in device memory, one after the other.
type inputs struct {
	ids, targets kernels.Buffer // I32
	starts       kernels.Buffer // I32, of documents
	positions    kernels.Buffer // I32, in documents; nil without rotary embeddings
	lookups      kernels.Buffer // I32, rows of the table of positions; nil without one
	keys         kernels.Buffer // U64, of dropout, one a micro-batch

	host   []int32 // what is written next
	staged []staged
}

// staged is a micro-batch in device memory.
type staged struct {
	at                                       int // the first token's place among the staged
	rows, len                                int
	ids, targets, starts, positions, lookups kernels.Buffer // starts and positions nil: each row is one document
	key                                      kernels.Scalar
	longest                                  int // document
}

// Stage copies the micro-batches of a step to the device, before the step: nothing
// is written between them. keys drive their dropout masks; nil in evaluation.
func (d *Decoder) Stage(w *Workspace, batches []Batch, keys []uint64) error {
	return d.stage(w, batches, keys, 0)
}

// stage is Stage of rows that start at a position.
func (d *Decoder) stage(w *Workspace, batches []Batch, keys []uint64, start int) error {
	in := &w.inputs
	in.staged = in.staged[:0]
	if len(batches) > w.micros {
		return fmt.Errorf("%d micro-batches in a workspace for %d", len(batches), w.micros)
	}
	total, documents := 0, false
	for _, b := range batches {
		if err := d.check(b, w, start); err != nil {
			return err
		}
		total += len(b.IDs)
		documents = documents || b.Starts != nil
	}
	// A device waits for this between steps: what the batch holds goes as it is.
	copied := func(to kernels.Buffer, of func(b *Batch) []int32) {
		at := 0
		for k := range batches {
			from := of(&batches[k])
			d.dev.WriteI32(to.Slice(at, len(from)), from)
			at += len(from)
		}
	}
	copied(in.ids, func(b *Batch) []int32 { return b.IDs })
	copied(in.targets, func(b *Batch) []int32 { return b.Targets })
	if in.lookups != nil {
		d.dev.WriteI32(in.lookups.Slice(0, total), in.places(batches, start, d.Spec.PositionShift))
	}
	if documents {
		if in.positions != nil {
			d.dev.WriteI32(in.positions.Slice(0, total), in.places(batches, start, 0))
		}
		d.dev.WriteI32(in.starts.Slice(0, total), in.firsts(batches))
	}
	if keys != nil {
		d.dev.WriteU64(in.keys.Slice(0, len(keys)), keys)
	}
	at := 0
	for i, b := range batches {
		n := len(b.IDs)
		part := func(buf kernels.Buffer) kernels.Buffer {
			if buf == nil {
				return nil
			}
			return buf.Slice(at, n)
		}
		s := staged{at: at, rows: b.Rows, len: b.Len, ids: part(in.ids), targets: part(in.targets), lookups: part(in.lookups),
			key: kernels.Scalar{Buf: in.keys, I: i}, longest: start + b.longest()}
		if b.Starts != nil {
			s.starts, s.positions = part(in.starts), part(in.positions)
		}
		in.staged = append(in.staged, s)
		at += n
	}
	return nil
}

// places are the tokens' positions, each plus shift: in their documents, or in rows that start at a position.
func (in *inputs) places(batches []Batch, start, shift int) []int32 {
	in.host = in.host[:0]
	for _, b := range batches {
		for at := 0; at < len(b.IDs); at += b.Len {
			for column := range b.Len {
				position := start + column
				if b.Starts != nil {
					position = column - int(b.Starts[at+column])
				}
				in.host = append(in.host, int32(position+shift))
			}
		}
	}
	return in.host
}

// firsts are the positions in their rows where the tokens' documents begin.
func (in *inputs) firsts(batches []Batch) []int32 {
	in.host = in.host[:0]
	for _, b := range batches {
		if b.Starts == nil {
			in.host = append(in.host, make([]int32, len(b.IDs))...)
		} else {
			in.host = append(in.host, b.Starts...)
		}
	}
	return in.host
}

// begin begins a pass over a staged micro-batch.
func (d *Decoder) begin(w *Workspace, i int) (*pass, error) {
	if i < 0 || i >= len(w.inputs.staged) {
		return nil, fmt.Errorf("micro-batch %d of %d that are staged", i, len(w.inputs.staged))
	}
	in := w.inputs.staged[i]
	return &pass{Decoder: d, w: w, in: in, batch: in.rows, len: in.len, rows: in.rows * in.len}, nil
}
