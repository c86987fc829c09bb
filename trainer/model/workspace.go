package model

import "github.com/shannon-control/scu/kernels"

// Workspace is the memory of a forward and backward pass over up to batch rows of
// up to length tokens: made once, used for every micro-batch.
//
// In training each block keeps its input, its projections and attention's
// output; norms and activations are computed again in the backward pass. With
// recompute only each block's input is kept, and the block is run again before
// its backward pass (gradient checkpointing, arXiv:1604.06174): the same
// arithmetic, so the same bytes.
type Workspace struct {
	Losses kernels.Buffer // F32 [rows], nats for each position of the last pass

	dev                     kernels.Device
	batch, rows             int
	training, recompute     bool
	ids, targets, positions kernels.Buffer
	shift                   []int32

	inputs        []kernels.Buffer // [rows, hidden]; every block's input and the last's output
	states        []*layerState
	finalNorm     normState
	h, t, y       kernels.Buffer // [rows, hidden]
	act           kernels.Buffer // [rows, widest MLP]
	dx, dh, dpost kernels.Buffer // [rows, hidden]
	dact          kernels.Buffer // [rows, widest MLP]
	dattn         kernels.Buffer // [rows, heads*dim]
	dproj         []kernels.Buffer
	dq, dk        kernels.Buffer
	dropped       kernels.Buffer // [rows, widest linear]
	du            kernels.Buffer // [rows, highest rank]
	headU         kernels.Buffer // [rows, rank of the output head's adapter]
	owned         []kernels.Buffer
	err           error
}

// normState is what a norm's backward pass needs of its forward pass.
type normState struct{ mean, rstd kernels.Buffer }

func (s normState) rowsOf(n int) normState {
	if s.mean != nil {
		s.mean = s.mean.Slice(0, n)
	}
	s.rstd = s.rstd.Slice(0, n)
	return s
}

// layerState is what a block's backward pass needs of its forward pass.
type layerState struct {
	preAttn, postAttn, preMLP, postMLP, qNorm, kNorm normState

	proj, projU      []kernels.Buffer // [rows, Out] and [rows, R] for each projection
	qNormed, kNormed kernels.Buffer
	attn, lse        kernels.Buffer // attention's output and log-sum-exp
	outU, attnOut    kernels.Buffer
	mid              kernels.Buffer // the residual stream between attention and MLP
	mlp, mlpU        []kernels.Buffer
	downU, mlpOut    kernels.Buffer
}

// WorkspaceOptions says what a workspace is for.
type WorkspaceOptions struct {
	Batch, Len int
	Training   bool // else only the loss and logits can be computed
	Recompute  bool // gradient checkpointing
}

// NewWorkspace allocates a workspace for the decoder with its present adapter.
func (d *Decoder) NewWorkspace(o WorkspaceOptions) (*Workspace, error) {
	w := &Workspace{dev: d.dev, batch: o.Batch, rows: o.Batch * o.Len, training: o.Training, recompute: o.Recompute && o.Training}
	hidden := d.Spec.Hidden
	w.Losses = w.alloc(kernels.F32, w.rows)
	w.ids, w.targets = w.alloc(kernels.I32, w.rows), w.alloc(kernels.I32, w.rows)
	if d.positions.Buf != nil {
		w.positions = w.alloc(kernels.I32, w.rows)
		w.shift = make([]int32, w.rows)
	}
	w.h, w.t = w.activations(hidden), w.activations(hidden)

	var widest, attn, linear, rank, q, k int
	var proj []int
	for i := range d.layers {
		l := &d.layers[i]
		widest, attn = max(widest, l.MLP.Width), max(attn, l.out.In)
		for j := range l.proj {
			if j == len(proj) {
				proj = append(proj, 0)
			}
			proj[j] = max(proj[j], l.proj[j].Out)
		}
		for _, x := range l.linears() {
			linear = max(linear, x.In)
		}
		if l.qNorm.spec != nil {
			q = max(q, l.Attn.Q.N*l.Attn.HeadDim)
		}
		if l.kNorm.spec != nil {
			k = max(k, l.Attn.K.N*l.Attn.HeadDim)
		}
	}
	if d.adapter != nil {
		for _, m := range d.adapter.Modules {
			rank = max(rank, m.R)
		}
	}
	if m := d.module(&d.head); m >= 0 {
		linear = max(linear, hidden)
		w.headU = w.activations(d.adapter.Modules[m].R)
	}
	w.act = w.activations(widest)
	w.finalNorm = w.norm(d.finalNorm, w.rows)
	if o.Training {
		w.dx, w.dh, w.dpost = w.activations(hidden), w.activations(hidden), w.activations(hidden)
		w.dact, w.dattn = w.activations(widest), w.activations(attn)
		for _, n := range proj {
			w.dproj = append(w.dproj, w.activations(n))
		}
		w.dq, w.dk = w.activations(q), w.activations(k)
		w.du = w.activations(rank)
		if d.adapter.Dropout > 0 {
			w.dropped = w.activations(linear)
		}
		if w.recompute {
			w.y = w.activations(hidden)
		}
	}
	keep := len(d.layers)
	if !o.Training {
		keep = 1
	}
	for range keep + 1 {
		w.inputs = append(w.inputs, w.activations(hidden))
	}
	for i := range d.layers {
		if i > 0 && (w.recompute || !o.Training) {
			break // one state serves every block
		}
		w.states = append(w.states, w.layer(d, &d.layers[i], rank))
	}
	if w.err != nil {
		w.Close()
		return nil, w.err
	}
	return w, nil
}

func (w *Workspace) alloc(t kernels.DType, n int) kernels.Buffer {
	if w.err != nil || n == 0 {
		return nil
	}
	b, err := w.dev.Alloc(t, n)
	if err != nil {
		w.err = err
		return nil
	}
	w.owned = append(w.owned, b)
	return b
}

func (w *Workspace) activations(cols int) kernels.Buffer {
	return w.alloc(w.dev.Activations(), w.rows*cols)
}

func (w *Workspace) norm(n normWeights, rows int) (s normState) {
	if n.spec == nil {
		return s
	}
	s.rstd = w.alloc(kernels.F32, rows)
	if n.spec.LayerNorm {
		s.mean = w.alloc(kernels.F32, rows)
	}
	return s
}

// layer is the state of block l, or, where blocks share one, of any: they have the
// same shapes but for the ranks of their adapters, of which rank is the highest.
func (w *Workspace) layer(d *Decoder, l *layerWeights, rank int) *layerState {
	a := &l.Attn
	headRows := func(v View) int {
		if a.WholeNorm {
			return w.rows
		}
		return w.rows * v.N
	}
	lora := func(x *linearWeights) kernels.Buffer {
		m := d.module(x)
		switch {
		case w.recompute || !w.training:
			return w.activations(rank)
		case m < 0:
			return nil
		}
		return w.activations(d.adapter.Modules[m].R)
	}
	s := &layerState{
		preAttn: w.norm(l.preAttn, w.rows), postAttn: w.norm(l.postAttn, w.rows),
		preMLP: w.norm(l.preMLP, w.rows), postMLP: w.norm(l.postMLP, w.rows),
		qNorm: w.norm(l.qNorm, headRows(a.Q)), kNorm: w.norm(l.kNorm, headRows(a.K)),
		attn: w.activations(l.out.In), lse: w.alloc(kernels.F32, w.rows*a.Q.N),
		outU: lora(&l.out), downU: lora(&l.down),
	}
	for i := range l.proj {
		x := &l.proj[i]
		s.proj, s.projU = append(s.proj, w.activations(x.Out)), append(s.projU, lora(x))
	}
	for i := range l.mlp {
		x := &l.mlp[i]
		s.mlp, s.mlpU = append(s.mlp, w.activations(x.Out)), append(s.mlpU, lora(x))
	}
	if l.qNorm.spec != nil {
		s.qNormed = w.activations(a.Q.N * a.HeadDim)
	}
	if l.kNorm.spec != nil {
		s.kNormed = w.activations(a.K.N * a.HeadDim)
	}
	if l.postAttn.spec != nil {
		s.attnOut = w.activations(l.out.Out)
	}
	if l.postMLP.spec != nil {
		s.mlpOut = w.activations(l.down.Out)
	}
	if !l.Parallel {
		s.mid = w.activations(l.out.Out)
	}
	return s
}

// x is the input of block i, or the output of block i-1. In evaluation two
// buffers take turns.
func (w *Workspace) x(i int) kernels.Buffer { return w.inputs[i%len(w.inputs)] }

func (w *Workspace) state(i int) *layerState { return w.states[min(i, len(w.states)-1)] }

// setPositions writes the rows of the position table that b's tokens read.
func (w *Workspace) setPositions(d *Decoder, b Batch, start int) {
	if w.positions == nil {
		return
	}
	n := b.Rows * b.Len
	for i := range n {
		w.shift[i] = int32(start + i%b.Len + d.Spec.PositionShift)
	}
	w.dev.WriteI32(w.positions.Slice(0, n), w.shift[:n])
}

// Close frees the memory.
func (w *Workspace) Close() {
	for _, b := range w.owned {
		w.dev.Free(b)
	}
	w.owned = nil
}
