package model

import (
	"slices"

	"github.com/shannon-control/scu/kernels"
)

// Workspace is the memory of a forward and backward pass over up to batch rows of
// up to length tokens. It is allocated once and used for every micro-batch.
//
// In training each block keeps its input, its projections and attention's
// output; the backward pass computes norms and activations again. With
// recompute only each block's input is kept, and the block is run again before
// its backward pass (gradient checkpointing, arXiv:1604.06174): the same
// arithmetic, so the same bytes. In between, the last blocks share the results of
// the projections that their MLP begins with, most of what a block keeps, and
// compute those alone again (selective recomputation, arXiv:2205.05198).
type Workspace struct {
	Losses kernels.Buffer // F32 [rows], nats for each position of the last pass

	dev                 kernels.Device
	batch, rows, micros int
	training, recompute bool
	inputs              inputs

	residual  []kernels.Buffer // [rows, hidden]; every block's input and the last's output
	states    []*layerState
	finalNorm normState
	h, y      kernels.Buffer // [rows, hidden]
	t         kernels.Buffer // [rows, hidden], of branches that don't end at the residual stream
	dh, dpost kernels.Buffer // [rows, hidden]
	headU     kernels.Buffer // [rows, rank of the output head's adapter]

	// Parts of lent, one behind the other. Nothing of it is in use during the loss.
	lent      kernels.Buffer
	act, dact kernels.Buffer // [rows, widest MLP]
	dx        kernels.Buffer // [rows, hidden]
	// Attention's gradients take the place of act and of dact.
	dproj         []kernels.Buffer
	dattn, dq, dk kernels.Buffer // [rows, heads*dim]

	owned []kernels.Buffer
	aside []kernels.Buffer // of the host's memory
	err   error
}

// normState is what a norm's forward pass keeps for its backward pass.
type normState struct{ mean, rstd kernels.Buffer }

func (s normState) rowsOf(n int) normState {
	if s.mean != nil {
		s.mean = s.mean.Slice(0, n)
	}
	s.rstd = s.rstd.Slice(0, n)
	return s
}

// layerState is what a block's forward pass keeps for its backward pass.
type layerState struct {
	preAttn, postAttn, preMLP, postMLP, qNorm, kNorm normState

	proj             []kernels.Buffer // the projections' results, see outputSizes
	projU            kernels.Buffer   // drop(x) A^T of all projections, see pass.linear
	qNormed, kNormed kernels.Buffer
	attn, lse        kernels.Buffer // attention's output and log-sum-exp
	outU, attnOut    kernels.Buffer
	mid              kernels.Buffer // the residual stream between attention and MLP
	mlp              []kernels.Buffer
	mlpU             kernels.Buffer
	downU, mlpOut    kernels.Buffer
	lendsMLP         bool             // a later block writes over mlp: it is computed again
	aside            []kernels.Buffer // where mlp is put aside in the host's memory before a later block writes over it; nil if it isn't
	over             *layerState      // of the block whose mlp was put aside for this one's; nil if none was
}

// WorkspaceOptions says what a workspace is for.
type WorkspaceOptions struct {
	Batch, Len   int
	MicroBatches int  // staged together at most; 0 means one
	Training     bool // if false, only the loss and logits can be computed
	Recompute    bool // gradient checkpointing
	AsideMLP     int  // how many of the first blocks, in steps of AsideEvery, share one room for what their MLP's projections result in, and put it aside
	AsideEvery   int  // see Spec.AsideEvery
	RecomputeMLP int  // how many of the last other blocks share one room for it, and compute it again
}

// Recomputes reports whether anything of the forward pass is computed again.
func (o WorkspaceOptions) Recomputes() bool { return o.Recompute || o.RecomputeMLP > 1 }

// NewWorkspace allocates a workspace for the decoder with its present adapter.
func (d *Decoder) NewWorkspace(o WorkspaceOptions) (*Workspace, error) {
	w := &Workspace{dev: d.dev, batch: o.Batch, rows: o.Batch * o.Len, micros: max(1, o.MicroBatches), training: o.Training, recompute: o.Recompute && o.Training}
	hidden := d.Spec.Hidden
	w.Losses = w.alloc(kernels.F32, w.rows)
	w.allocInputs(d)
	w.h = w.roomy(hidden)

	var widest, attn, q, k, post, branch int
	var proj []int
	for i := range d.layers {
		l := &d.layers[i]
		widest, attn = max(widest, l.MLP.Width), max(attn, l.out.In)
		for j, n := range outputSizes(l.projections()) {
			if j == len(proj) {
				proj = append(proj, 0)
			}
			proj[j] = max(proj[j], n)
		}
		if l.qNorm.spec != nil {
			q = max(q, l.Attn.Q.N*l.Attn.HeadDim)
		}
		if l.kNorm.spec != nil {
			k = max(k, l.Attn.K.N*l.Attn.HeadDim)
		}
		if l.postAttn.spec != nil || l.postMLP.spec != nil {
			post = hidden + d.dev.Spare()
		}
		if post > 0 || l.Parallel {
			branch = hidden
		}
	}
	w.t = w.activations(branch)
	w.headU = w.activations(d.rank(&d.head))
	w.finalNorm = w.norm(d.finalNorm, w.rows)
	if o.Training {
		w.dh, w.dpost = w.activations(hidden), w.activations(post)
		w.lend(widest, hidden, proj, attn, q, k)
		if w.recompute {
			w.y = w.activations(hidden)
		}
	} else {
		w.act = w.roomy(widest)
	}
	keep := len(d.layers)
	if !o.Training {
		keep = 1
	}
	for range keep + 1 {
		w.residual = append(w.residual, w.activations(hidden))
	}
	shares := d.sharing(o)
	last := map[sharing]int{} // the last block that shares a room so
	for i := range d.layers {
		if i > 0 && (w.recompute || !o.Training) {
			break // one state serves every block
		}
		s := w.layer(d, i)
		below, ok := last[shares[i]]
		ok = ok && slices.Equal(outputSizes(d.layers[below].mlpInputs()), outputSizes(d.layers[i].mlpInputs()))
		switch {
		case ok && shares[i] == putsAside:
			w.shareRoom(s, w.states[below])
		case ok && shares[i] == makesAgain:
			s.mlp, w.states[below].lendsMLP = w.states[below].mlp, true
		default:
			w.allocMLP(s, &d.layers[i])
		}
		last[shares[i]] = i
		w.states = append(w.states, s)
	}
	if w.err != nil {
		w.Close()
		return nil, w.err
	}
	return w, nil
}

// allocInputs makes room for what passes read of their batches.
func (w *Workspace) allocInputs(d *Decoder) {
	ints := func() kernels.Buffer { return w.alloc(kernels.I32, w.micros*w.rows) }
	in := &w.inputs
	in.ids, in.targets, in.starts = ints(), ints(), ints()
	if len(d.tables) > 0 {
		in.positions = ints()
	}
	if d.positions.Buf != nil {
		in.lookups = ints()
	}
	in.keys = w.alloc(kernels.U64, w.micros)
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

// roomy is activations for pass.roomy.
func (w *Workspace) roomy(cols int) kernels.Buffer { return w.activations(cols + w.dev.Spare()) }

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

// layer is the state of block i. Blocks that share one differ only in the ranks of
// their adapters; it has room for the highest.
func (w *Workspace) layer(d *Decoder, i int) *layerState {
	l := &d.layers[i]
	a := &l.Attn
	alike := d.layers[i : i+1]
	if w.recompute || !w.training {
		alike = d.layers
	}
	headRows := func(v View) int {
		if a.WholeNorm {
			return w.rows
		}
		return w.rows * v.N
	}
	lora := func(group func(l *layerWeights) []*linearWeights) kernels.Buffer {
		most := 0
		for i := range alike {
			most = max(most, d.rank(group(&alike[i])...))
		}
		return w.activations(most)
	}
	s := &layerState{
		preAttn: w.norm(l.preAttn, w.rows), postAttn: w.norm(l.postAttn, w.rows),
		preMLP: w.norm(l.preMLP, w.rows), postMLP: w.norm(l.postMLP, w.rows),
		qNorm: w.norm(l.qNorm, headRows(a.Q)), kNorm: w.norm(l.kNorm, headRows(a.K)),
		attn: w.roomy(l.out.In), lse: w.alloc(kernels.F32, w.rows*a.Q.N),
		projU: lora((*layerWeights).projections), outU: lora((*layerWeights).output),
		mlpU: lora((*layerWeights).mlpInputs), downU: lora((*layerWeights).mlpOutput),
	}
	for _, n := range outputSizes(l.projections()) {
		s.proj = append(s.proj, w.activations(n))
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

func (w *Workspace) allocMLP(s *layerState, l *layerWeights) {
	for _, n := range outputSizes(l.mlpInputs()) {
		s.mlp = append(s.mlp, w.activations(n))
	}
}

// lend allocates what is in use only while one block goes back, or its MLP forward.
// The arguments are elements of a row.
func (w *Workspace) lend(widest, hidden int, proj []int, attn, q, k int) {
	spare := w.dev.Spare()
	heads := []int{attn, q, k}
	act, dact := max(w.aligned(widest+spare), w.aligned(proj...)), max(w.aligned(widest), w.aligned(heads...))
	dx := w.aligned(hidden + spare)
	w.lent = w.alloc(w.dev.Activations(), act+dact+dx)
	if w.err != nil {
		return
	}
	w.act, w.dact, w.dx = w.lent.Slice(0, act), w.lent.Slice(act, dact), w.lent.Slice(act+dact, dx)
	w.dproj = w.parts(w.act, proj...)
	parts := w.parts(w.dact, heads...)
	w.dattn, w.dq, w.dk = parts[0], parts[1], parts[2]
}

// aligned is the elements of matrices of so many columns, one behind the other, each
// from a multiple of 256 bytes on.
func (w *Workspace) aligned(cols ...int) (sum int) {
	for _, n := range cols {
		sum += (w.rows*n + 127) &^ 127
	}
	return sum
}

// parts are such matrices in b.
func (w *Workspace) parts(b kernels.Buffer, cols ...int) (out []kernels.Buffer) {
	at := 0
	for _, n := range cols {
		out = append(out, b.Slice(at, w.rows*n))
		at += w.aligned(n)
	}
	return out
}

// x is the input of block i, or the output of block i-1. In evaluation two
// buffers take turns.
func (w *Workspace) x(i int) kernels.Buffer { return w.residual[i%len(w.residual)] }

func (w *Workspace) state(i int) *layerState { return w.states[min(i, len(w.states)-1)] }

// Close frees the memory: first the host's, once copies beside the work are done.
func (w *Workspace) Close() {
	for _, b := range slices.Concat(w.aside, w.owned) {
		w.dev.Free(b)
	}
	w.aside, w.owned = nil, nil
}
