package model

import (
	"context"
	"math"

	"github.com/shannon-control/scu/kernels"
)

// norm is dst = n(x), and keeps what the gradient needs in s.
func (p *pass) norm(n normWeights, dst, x kernels.Mat, s normState) {
	p.dev.Norm(n.op(dst, x, s))
}

func (n normWeights) op(dst, x kernels.Mat, s normState) kernels.Norm {
	s = s.rowsOf(x.Rows)
	return kernels.Norm{Dst: dst, X: x, Weight: n.weight, Bias: n.bias, Mean: s.mean, Rstd: s.rstd,
		Eps: n.spec.Eps, UnitOffset: n.spec.UnitOffset, LayerNorm: n.spec.LayerNorm}
}

// addNorm is sum = a + b and, for the norm n that follows, h = n(sum); h is sum
// itself if there is none.
func (p *pass) addNorm(n normWeights, sum, a, b kernels.Mat, s normState) (h kernels.Mat) {
	if n.spec == nil {
		p.dev.Add(sum, a, b)
		return sum
	}
	h = p.roomy(p.w.h, p.Spec.Hidden)
	p.dev.AddNorm(kernels.AddNorm{Norm: n.op(h, sum, s), A: a, B: b})
	return h
}

// linear runs the layers that read x, with their adapter's share, each into its y.
// u [rows, sum of ranks] receives drop(x) A^T of each, side by side: what the
// gradient needs.
func (p *pass) linear(x kernels.Mat, u kernels.Buffer, layers []*linearWeights, y ...kernels.Mat) {
	p.dev.Linear(p.linearOp(x, u, layers, y...))
}

func (p *pass) linearOp(x kernels.Mat, u kernels.Buffer, layers []*linearWeights, y ...kernels.Mat) kernels.Linear {
	op := kernels.Linear{X: x, Mask: p.mask(layers), Spare: min(layers[0].room, x.Stride-x.Cols)}
	adapters := p.loras(layers, x.Rows, u)
	for i, l := range layers {
		op.Parts = append(op.Parts, kernels.LinearPart{Dst: y[i], W: l.weight, Conv1D: l.Conv1D, Bias: l.bias, LoRA: adapters[i]})
	}
	return op
}

// outputs are the results of layers that read one input, or the gradients to them, in
// buffers of the sizes that outputSizes tells.
func (p *pass) outputs(layers []*linearWeights, bufs []kernels.Buffer) []kernels.Mat {
	out := make([]kernels.Mat, len(layers))
	sizes := outputSizes(layers)
	at := 0
	for i, l := range layers {
		if l.room == 0 {
			out[i] = p.mat(bufs[i], l.Out)
			continue
		}
		out[i] = kernels.Mat{Buf: bufs[0], Off: at, Rows: p.rows, Cols: l.Out, Stride: sizes[0]}
		at += l.Out
	}
	return out
}

// outputSizes are the elements a row of the buffers for layers' results: one for
// each layer, or, if their weights are joined, the first for all, side by side with
// room for their adapters.
func outputSizes(layers []*linearWeights) []int {
	sizes := make([]int, len(layers))
	for i, l := range layers {
		if l.room == 0 {
			sizes[i] = l.Out
			continue
		}
		sizes[0] += l.Out
	}
	sizes[0] += layers[0].room
	return sizes
}

// loras are the layers' adapters, with their columns of u.
func (p *pass) loras(layers []*linearWeights, rows int, u kernels.Buffer) []kernels.LoRA {
	out := make([]kernels.LoRA, len(layers))
	all := kernels.Matrix(u, rows, p.rank(layers...))
	at := 0
	for i, l := range layers {
		m := p.module(l)
		if m < 0 {
			continue
		}
		a := p.adapter
		out[i] = kernels.LoRA{A: a.A(a.Param, m), B: a.B(a.Param, m), U: all.Columns(at, a.Modules[m].R), Scale: a.Modules[m].Scale}
		at += a.Modules[m].R
	}
	return out
}

// mask is the dropout of the layers' common input, told apart by the first module.
func (p *pass) mask(layers []*linearWeights) kernels.Mask {
	mask := p.dropout
	for _, l := range layers {
		if m := p.module(l); m >= 0 {
			mask.Module = uint64(m)
			break
		}
	}
	return mask
}

// heads views one of q, k, v in the projections' results.
func heads(v View, dim int, proj []kernels.Mat) kernels.Heads {
	m := proj[v.Proj]
	return kernels.Heads{Buf: m.Buf, Off: m.Off + v.Off, N: v.N, Dim: dim, RowStride: m.Stride, HeadStride: v.Stride}
}

// rotation is how a block's queries and keys are rotated.
func (p *pass) rotation(r *rotation) kernels.Rotation {
	if r == nil {
		return kernels.Rotation{}
	}
	cos, sin := r.tables(p.in.longest)
	return kernels.Rotation{Len: p.len, Start: p.start, Positions: p.in.positions, Half: r.spec.Pairs(), Cos: cos, Sin: sin}
}

// embedTokens is x = EmbedScale E[ids] (+ P[positions]).
func (p *pass) embedTokens(x kernels.Mat) {
	p.dev.Embed(kernels.Embed{Dst: x, Table: p.embed, IDs: p.in.ids, Scale: p.Spec.EmbedScale})
	if p.positions.Buf != nil {
		p.dev.Embed(kernels.Embed{Dst: x, Table: p.positions, IDs: p.in.lookups, Scale: 1, Add: true})
	}
}

// attention is everything from the block's normed input h to the end of the branch:
// Out(attention(h)), normed by PostAttn, joins x.
func (p *pass) attention(i int, h kernels.Mat, j joint) kernels.Mat {
	l, s := &p.layers[i], p.w.state(i)
	p.linear(h, s.projU, l.projections(), p.outputs(l.projections(), s.proj)...)
	q, k, v := p.qkv(l, s)
	p.normHeads(l, l.qNorm, q, l.Attn.Q, s, s.qNorm)
	p.normHeads(l, l.kNorm, k, l.Attn.K, s, s.kNorm)
	p.rotation(l.rope).Rotate(p.dev, q, k, p.rows, false)
	op := p.attentionOp(l, s, q, k, v)
	if p.cache != nil {
		op.K, op.V = p.cache.put(p, i, k, v)
		op.KeyLen = p.start + p.len
	}
	p.dev.Attention(op)
	return p.join(j, l.postAttn, s.attnOut, s.postAttn, func(to, residual kernels.Mat) {
		out := p.linearOp(p.roomy(s.attn, l.out.In), s.outU, l.output(), to)
		out.Parts[0].Residual = residual
		p.dev.Linear(out)
	})
}

// joint is where a branch meets the residual stream: sum = x + branch, and the norm
// that follows, if there is one. sum is another matrix than x, unless inPlace.
type joint struct {
	sum, x  kernels.Mat
	inPlace bool
	next    normWeights
	state   normState
}

// join is sum = x + post(linear), and returns next(sum). Without post, linear adds x
// itself to what it makes, if it isn't in place; y keeps its result if there is a post.
func (p *pass) join(j joint, post normWeights, y kernels.Buffer, s normState, linear func(to, residual kernels.Mat)) kernels.Mat {
	if post.spec == nil && !j.inPlace {
		linear(j.sum, j.x)
		return p.normed(j.next, j.sum, j.state)
	}
	t := p.mat(p.w.t, p.Spec.Hidden)
	if post.spec == nil {
		linear(t, kernels.Mat{})
	} else {
		linear(p.mat(y, p.Spec.Hidden), kernels.Mat{})
		p.norm(post, t, p.mat(y, p.Spec.Hidden), s)
	}
	return p.addNorm(j.next, j.sum, j.x, t, j.state)
}

// qkv are the views that attention reads: the projections, or their normed copies.
func (p *pass) qkv(l *layerWeights, s *layerState) (q, k, v kernels.Heads) {
	a, proj := &l.Attn, p.outputs(l.projections(), s.proj)
	q, k, v = heads(a.Q, a.HeadDim, proj), heads(a.K, a.HeadDim, proj), heads(a.V, a.HeadDim, proj)
	if l.qNorm.spec != nil {
		q = dense(s.qNormed, a.Q.N, a.HeadDim)
	}
	if l.kNorm.spec != nil {
		k = dense(s.kNormed, a.K.N, a.HeadDim)
	}
	return q, k, v
}

// dense views a buffer [rows, n*dim] as heads.
func dense(b kernels.Buffer, n, dim int) kernels.Heads {
	return kernels.Heads{Buf: b, N: n, Dim: dim, RowStride: n * dim, HeadStride: dim}
}

// normRows views projection v.Proj as what a head norm works on: a row a head, or
// a row a token.
func (p *pass) normRows(l *layerWeights, b kernels.Buffer, v View) kernels.Mat {
	if l.Attn.WholeNorm {
		return kernels.Matrix(b, p.rows, v.N*l.Attn.HeadDim)
	}
	return kernels.Matrix(b, p.rows*v.N, l.Attn.HeadDim)
}

func (p *pass) normHeads(l *layerWeights, n normWeights, dst kernels.Heads, v View, s *layerState, ns normState) {
	if n.spec != nil {
		p.norm(n, p.normRows(l, dst.Buf, v), p.normRows(l, s.proj[v.Proj], v), ns)
	}
}

func (p *pass) attentionOp(l *layerWeights, s *layerState, q, k, v kernels.Heads) kernels.Attention {
	a := &l.Attn
	return kernels.Attention{Batch: p.batch, QueryLen: p.len, KeyLen: p.len, Q: q, K: k, V: v,
		Out: kernels.HeadsOf(p.roomy(s.attn, l.out.In), a.HeadDim), LSE: s.lse.Slice(0, p.rows*a.Q.N), Starts: p.in.starts, Scale: a.Scale, Softcap: a.Softcap, Window: a.Window}
}

// mlp is the branch Down(act(Gate h) * Up h) of its normed input h, normed by PostMLP.
func (p *pass) mlp(l *layerWeights, s *layerState, h kernels.Mat, j joint) kernels.Mat {
	p.awaitCopies(s.over)
	p.linear(h, s.mlpU, l.mlpInputs(), p.outputs(l.mlpInputs(), s.mlp)...)
	p.putAside(s)
	act := p.roomy(p.w.act, l.MLP.Width)
	return p.join(j, l.postMLP, s.mlpOut, s.postMLP, func(to, residual kernels.Mat) {
		gate, up := p.gateUp(l, s)
		down := p.linearOp(act, s.downU, l.mlpOutput(), to)
		down.Parts[0].Residual = residual
		p.dev.ActivatedLinear(kernels.ActivatedLinear{Act: l.MLP.Act, Gate: gate, Up: up, Linear: down})
	})
}

// gateUp are the columns of gate and up in the projections' buffers: of what goes
// through the activation, and of what that is multiplied by, which has no buffer in an
// MLP that isn't gated.
func (p *pass) gateUp(l *layerWeights, s *layerState) (gate, up kernels.Mat) {
	m, mlp := &l.MLP, p.outputs(l.mlpInputs(), s.mlp)
	up = mlp[m.Up].Columns(m.UpOff, m.Width)
	if !m.Gated {
		return up, kernels.Mat{}
	}
	return mlp[m.Gate].Columns(m.GateOff, m.Width), up
}

// block is y = the block's output for input x, of which h is the normed one, and
// returns next(y), the input of what follows; y itself if there is no norm.
func (p *pass) block(i int, y, x, h kernels.Mat, next normWeights, ns normState) kernels.Mat {
	l, s := &p.layers[i], p.w.state(i)
	if l.Parallel {
		p.attention(i, h, joint{sum: y, x: x})
		return p.mlp(l, s, p.normed(l.preMLP, x, s.preMLP), joint{sum: y, x: y, inPlace: true, next: next, state: ns})
	}
	mid := p.mat(s.mid, p.Spec.Hidden)
	h = p.attention(i, h, joint{sum: mid, x: x, next: l.preMLP, state: s.preMLP})
	return p.mlp(l, s, h, joint{sum: y, x: mid, next: next, state: ns})
}

// normed is h = n(x), or x itself without a norm.
func (p *pass) normed(n normWeights, x kernels.Mat, s normState) kernels.Mat {
	if n.spec == nil {
		return x
	}
	h := p.roomy(p.w.h, p.Spec.Hidden)
	p.norm(n, h, x, s)
	return h
}

// Loss queues the forward pass of b in evaluation mode: w.Losses receives each
// token's loss in nats. It stops between blocks when ctx ends.
func (d *Decoder) Loss(ctx context.Context, w *Workspace, b Batch) error {
	if err := d.Stage(w, []Batch{b}, nil); err != nil {
		return err
	}
	p, err := d.begin(w, 0)
	if err != nil {
		return err
	}
	x, err := p.forward(ctx)
	if err != nil {
		return err
	}
	p.loss(x)
	return nil
}

// forward runs the layers and returns the final norm's output.
func (p *pass) forward(ctx context.Context) (kernels.Mat, error) {
	hidden := p.Spec.Hidden
	x := p.mat(p.w.x(0), hidden)
	p.embedTokens(x)
	if err := p.look(-1, x); err != nil {
		return kernels.Mat{}, err
	}
	h := p.normed(p.layers[0].preAttn, x, p.w.state(0).preAttn)
	for i := range p.layers {
		if err := ctx.Err(); err != nil {
			return kernels.Mat{}, err
		}
		y := p.mat(p.w.x(i+1), hidden)
		next, state := p.finalNorm, p.w.finalNorm
		if i+1 < len(p.layers) {
			next, state = p.layers[i+1].preAttn, p.w.state(i+1).preAttn
		}
		h = p.block(i, y, x, h, next, state)
		if err := p.look(i, y); err != nil {
			return kernels.Mat{}, err
		}
		x = y
	}
	return h, nil
}

// loss is the head and each token's loss for x, the final norm's output.
func (p *pass) loss(x kernels.Mat) { p.dev.LinearCrossEntropy(p.lossOp(x)) }

func (p *pass) lossOp(x kernels.Mat) kernels.LinearCrossEntropy {
	op := kernels.LinearCrossEntropy{X: x, Head: p.head.weight, Bias: p.head.bias, Targets: p.in.targets,
		Losses: p.w.Losses.Slice(0, p.rows), Softcap: p.Spec.LogitSoftcap, Below: p.headBelow, Room: p.w.lent}
	head := []*linearWeights{&p.head}
	op.LoRA, op.Mask = p.loras(head, p.rows, p.w.headU)[0], p.mask(head)
	return op
}

// Logits runs the forward pass of b and returns the logits [rows, Vocab] of the
// given row numbers (row*Len + position).
func (d *Decoder) Logits(ctx context.Context, w *Workspace, b Batch, rows []int) ([]float32, error) {
	if err := d.Stage(w, []Batch{b}, nil); err != nil {
		return nil, err
	}
	p, err := d.begin(w, 0)
	if err != nil {
		return nil, err
	}
	h, err := p.forward(ctx)
	if err != nil {
		return nil, err
	}
	return p.logits(h, rows)
}

// logits multiplies rows of the final norm's output with the head.
func (p *pass) logits(h kernels.Mat, rows []int) ([]float32, error) {
	buf, err := p.dev.Alloc(kernels.F32, p.Spec.Vocab)
	if err != nil {
		return nil, err
	}
	defer p.dev.Free(buf)
	out := make([]float32, 0, len(rows)*p.Spec.Vocab)
	row := make([]float32, p.Spec.Vocab)
	for _, r := range rows {
		p.linear(h.RowRange(r, 1), p.w.headU, []*linearWeights{&p.head}, kernels.Matrix(buf, 1, p.Spec.Vocab))
		if err := p.dev.ReadF32(row, buf); err != nil {
			return nil, err
		}
		if c := float64(p.Spec.LogitSoftcap); c > 0 {
			for i, x := range row {
				row[i] = float32(c * math.Tanh(float64(x)/c))
			}
		}
		out = append(out, row...)
	}
	return out, nil
}
