package model

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/lora"
)

// Weights are a model's frozen weights on a device. Nothing changes them, so that
// any number of decoders may stand on them.
type Weights struct {
	Spec *Spec
	dev  kernels.Device

	embed, positions kernels.Mat
	head             linearWeights
	layers           []layerWeights
	finalNorm        normWeights
	tables           map[string]*rotation

	maxLen  int // most positions of a row
	linears int // linear modules, the head among them
	owned   []kernels.Buffer
}

// Close frees the weights: no decoder on them may be used after it. The files they
// were loaded from may be closed then.
func (w *Weights) Close() {
	for _, b := range w.owned {
		w.dev.Free(b)
	}
	w.owned = nil
}

// Decoder is a model: frozen weights, and the LoRA adapter beside them if there is
// one. Closing either is its owner's business.
type Decoder struct {
	*Weights
	adapter *lora.Adapter
	modules []int // of the adapter, by linearWeights.index; -1: not adapted
	lowest  int   // block with a module of the adapter; len(layers) if none has
}

// With returns the model with an adapter beside its weights; with nil, the base
// model. The adapter's modules are found by their paths.
func (w *Weights) With(a *lora.Adapter) *Decoder {
	d := &Decoder{Weights: w, adapter: a, modules: make([]int, w.linears), lowest: len(w.layers)}
	bind := func(l *linearWeights, block int) {
		d.modules[l.index] = -1
		if a == nil {
			return
		}
		if m := a.Find(l.Path); m >= 0 {
			d.modules[l.index], d.lowest = m, min(d.lowest, block)
		}
	}
	for i := range w.layers {
		for _, l := range w.layers[i].linears() {
			bind(l, i)
		}
	}
	bind(&w.head, len(w.layers))
	return d
}

// module is the adapter's module on a linear layer, or -1.
func (d *Decoder) module(l *linearWeights) int { return d.modules[l.index] }

type normWeights struct {
	spec         *Norm // nil: the identity
	weight, bias kernels.Buffer
}

type linearWeights struct {
	Linear
	weight kernels.Mat // [Out,In], or [In,Out] where Conv1D
	bias   kernels.Buffer
	index  int // among the model's linear modules
}

type layerWeights struct {
	*Layer
	preAttn, postAttn, preMLP, postMLP normWeights
	qNorm, kNorm                       normWeights
	proj                               []linearWeights
	out                                linearWeights
	mlp                                []linearWeights
	down                               linearWeights
	rope                               *rotation
}

// linears are the block's linear modules.
func (l *layerWeights) linears() []*linearWeights {
	out := []*linearWeights{&l.out, &l.down}
	for i := range l.proj {
		out = append(out, &l.proj[i])
	}
	for i := range l.mlp {
		out = append(out, &l.mlp[i])
	}
	return out
}

// rotation is a RoPE's tables; long is the second set of longrope.
type rotation struct {
	spec       *RoPE
	short      [2]kernels.Buffer // cos, sin
	long       [2]kernels.Buffer
	hasTwoSets bool
}

func (r *rotation) tables(n int) (cos, sin kernels.Buffer) {
	if r.hasTwoSets && r.spec.long(n) {
		return r.long[0], r.long[1]
	}
	return r.short[0], r.short[1]
}

// pass is the state of one run through the layers: which rows, and what LoRA's
// dropout depends on.
type pass struct {
	*Decoder
	w          *Workspace
	batch, len int
	rows       int
	start      int                                  // position of the rows' first token, where a cache holds those before
	cache      *Cache                               // nil: attention sees this pass alone
	dropout    float32                              // 0 in evaluation
	key        uint64                               // of this micro-batch's dropout masks
	probe      func(stage int, m kernels.Mat) error // see look; nil but for FindNonFinite
}

func (p *pass) mat(b kernels.Buffer, cols int) kernels.Mat { return kernels.Matrix(b, p.rows, cols) }

// Batch is rows of tokens for one micro-batch: IDs and Targets are [Rows, Len].
// Targets[i] is the token that follows position i, or -1 where none counts.
// Starts[i], also [Rows, Len], is the position in its row where the document that
// token i belongs to begins; nil: each row is one document.
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

func (d *Decoder) check(b Batch, w *Workspace, start int) error {
	if b.Rows < 1 || b.Len < 1 || b.Rows*b.Len > w.rows || b.Rows > w.batch {
		return fmt.Errorf("a batch of %d rows of %d tokens doesn't fit the workspace of %d tokens", b.Rows, b.Len, w.rows)
	}
	if len(b.IDs) != b.Rows*b.Len || len(b.Targets) != len(b.IDs) {
		return fmt.Errorf("a batch of %d x %d has %d ids and %d targets", b.Rows, b.Len, len(b.IDs), len(b.Targets))
	}
	if b.Starts != nil {
		return fmt.Errorf("rows of several documents can't be told apart yet")
	}
	if start+b.Len > d.maxLen {
		return fmt.Errorf("rows up to position %d on a model that was loaded for %d", start+b.Len, d.maxLen)
	}
	for i, id := range b.IDs {
		if id < 0 || int(id) >= d.Spec.Vocab || int(b.Targets[i]) >= d.Spec.Vocab {
			return fmt.Errorf("token %d or target %d is outside the vocabulary of %d", id, b.Targets[i], d.Spec.Vocab)
		}
	}
	return nil
}

func (d *Decoder) begin(w *Workspace, b Batch) (*pass, error) {
	return d.beginAt(w, b, 0)
}

// beginAt begins a pass whose rows start at a position.
func (d *Decoder) beginAt(w *Workspace, b Batch, start int) (*pass, error) {
	if err := d.check(b, w, start); err != nil {
		return nil, err
	}
	p := &pass{Decoder: d, w: w, batch: b.Rows, len: b.Len, rows: b.Rows * b.Len, start: start}
	d.dev.WriteI32(w.ids.Slice(0, p.rows), b.IDs)
	d.dev.WriteI32(w.targets.Slice(0, p.rows), b.Targets)
	w.setPositions(d, b, start)
	return p, nil
}
