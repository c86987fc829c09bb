package model

import (
	"slices"

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
	headBelow        int // rows of zeros below the head's weight
	layers           []layerWeights
	finalNorm        normWeights
	tables           map[string]*rotation

	maxLen  int // most positions of a row
	linears int // linear modules, the head among them
	owned   []kernels.Buffer

	hostRefused bool
}

// HostRefused reports whether a table that would be in the host's memory lies on the device, since the host had too
// little to spare.
func (w *Weights) HostRefused() bool { return w.hostRefused }

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

// rank is the sum of the ranks of the layers' modules.
func (d *Decoder) rank(layers ...*linearWeights) (sum int) {
	for _, l := range layers {
		if m := d.module(l); m >= 0 {
			sum += d.adapter.Modules[m].R
		}
	}
	return sum
}

type normWeights struct {
	spec         *Norm // nil: the identity
	weight, bias kernels.Buffer
}

type linearWeights struct {
	Linear
	weight kernels.Mat // [Out,In], or [In,Out] where Conv1D
	bias   kernels.Buffer
	index  int // among the model's linear modules
	// room is 0, or the spare columns and rows beside and below weight and those of the
	// layers that read the same input, which then are one matrix or NF4 (kernels.Linear).
	room int
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

// The block's linear modules, in groups that read one input.

func (l *layerWeights) projections() []*linearWeights { return pointers(l.proj) }
func (l *layerWeights) output() []*linearWeights      { return []*linearWeights{&l.out} }
func (l *layerWeights) mlpInputs() []*linearWeights   { return pointers(l.mlp) }
func (l *layerWeights) mlpOutput() []*linearWeights   { return []*linearWeights{&l.down} }

// linears are the block's linear modules.
func (l *layerWeights) linears() []*linearWeights {
	return slices.Concat(l.output(), l.mlpOutput(), l.projections(), l.mlpInputs())
}

func pointers(layers []linearWeights) (out []*linearWeights) {
	for i := range layers {
		out = append(out, &layers[i])
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
	in         staged
	batch, len int
	rows       int
	start      int                                  // position of the rows' first token, if a cache holds those before
	cache      *Cache                               // nil: attention sees this pass alone
	dropout    kernels.Mask                         // keeps everything in evaluation
	goesBack   bool                                 // a backward pass follows, which needs what blocks put aside
	probe      func(stage int, m kernels.Mat) error // see look; nil but for FindNonFinite
}

func (p *pass) mat(b kernels.Buffer, cols int) kernels.Mat { return kernels.Matrix(b, p.rows, cols) }

// roomy is mat of a buffer with the room beside each row that the device has use for.
func (p *pass) roomy(b kernels.Buffer, cols int) kernels.Mat {
	return kernels.Mat{Buf: b, Rows: p.rows, Cols: cols, Stride: cols + p.dev.Spare()}
}
