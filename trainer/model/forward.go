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

// linear is dst = x W^T + b, plus the adapter's share. u [rows,R] receives
// drop(x) A^T, which the gradient needs.
func (p *pass) linear(l *linearWeights, dst, x kernels.Mat, u kernels.Buffer) {
	p.dev.MatMul(kernels.MatMul{Dst: dst, A: x, B: l.weight, TransB: !l.Conv1D, Alpha: 1, Bias: l.bias})
	if p.module(l) < 0 {
		return
	}
	um := p.lowRank(l, x, u)
	p.dev.MatMul(kernels.MatMul{Dst: dst, A: um, B: p.adapter.B(p.adapter.Param, p.module(l)), TransB: true, Alpha: p.adapter.Modules[p.module(l)].Scale, Beta: 1})
}

// lowRank sets u to drop(x) A^T and returns it as a matrix.
func (p *pass) lowRank(l *linearWeights, x kernels.Mat, u kernels.Buffer) kernels.Mat {
	um := kernels.Matrix(u, x.Rows, p.adapter.Modules[p.module(l)].R)
	p.dev.MatMul(kernels.MatMul{Dst: um, A: p.dropped(l, x), B: p.adapter.A(p.adapter.Param, p.module(l)), TransB: true, Alpha: 1})
	return um
}

// dropped is x after LoRA's dropout: x itself in evaluation, else the scratch.
func (p *pass) dropped(l *linearWeights, x kernels.Mat) kernels.Mat {
	if p.dropout == 0 {
		return x
	}
	d := kernels.Matrix(p.w.dropped, x.Rows, x.Cols)
	p.dev.Dropout(d, x, p.dropout, kernels.Key(p.key, uint64(p.module(l))), false)
	return d
}

// heads views one of q, k, v in the buffers of the projections.
func (p *pass) heads(v View, dim int, bufs []kernels.Buffer, proj []linearWeights) kernels.Heads {
	return kernels.Heads{Buf: bufs[v.Proj], Off: v.Off, N: v.N, Dim: dim, RowStride: proj[v.Proj].Out, HeadStride: v.Stride}
}

// rotate applies the rotary embedding to heads, or takes it back.
func (p *pass) rotate(r *rotation, h kernels.Heads, inverse bool) {
	if r == nil {
		return
	}
	cos, sin := r.tables(p.start + p.len)
	p.dev.RoPE(kernels.RoPE{X: h, Rows: p.rows, Len: p.len, Start: p.start, Half: r.spec.Pairs(), Cos: cos, Sin: sin, Inverse: inverse})
}

// embedTokens is x = EmbedScale E[ids] (+ P[positions]).
func (p *pass) embedTokens(x kernels.Mat) {
	p.dev.Embed(x, p.embed, p.w.ids.Slice(0, p.rows), p.Spec.EmbedScale, false)
	if p.positions.Buf != nil {
		p.dev.Embed(x, p.positions, p.w.positions.Slice(0, p.rows), 1, true)
	}
}

// attention is everything from the block's input to the attention's output
// projection: dst = Out(attention(PreAttn(x))), normed by PostAttn.
func (p *pass) attention(i int, dst, x kernels.Mat) {
	l, s := &p.layers[i], p.w.state(i)
	h := x
	if l.preAttn.spec != nil {
		h = p.mat(p.w.h, p.Spec.Hidden)
		p.norm(l.preAttn, h, x, s.preAttn)
	}
	for j := range l.proj {
		p.linear(&l.proj[j], p.mat(s.proj[j], l.proj[j].Out), h, s.projU[j])
	}
	q, k, v := p.qkv(l, s)
	p.normHeads(l, l.qNorm, q, l.Attn.Q, s, s.qNorm)
	p.normHeads(l, l.kNorm, k, l.Attn.K, s, s.kNorm)
	p.rotate(l.rope, q, false)
	p.rotate(l.rope, k, false)
	op := p.attentionOp(l, s, q, k, v)
	if p.cache != nil {
		op.K, op.V = p.cache.put(p, i, k, v)
		op.KeyLen = p.start + p.len
	}
	p.dev.Attention(op)
	p.residualLinear(&l.out, l.postAttn, dst, p.mat(s.attn, l.out.In), s.outU, s.attnOut, s.postAttn)
}

// residualLinear is dst = post(linear(x)); y keeps the linear's result where
// there is a norm after it.
func (p *pass) residualLinear(l *linearWeights, post normWeights, dst, x kernels.Mat, u, y kernels.Buffer, s normState) {
	if post.spec == nil {
		p.linear(l, dst, x, u)
		return
	}
	ym := p.mat(y, l.Out)
	p.linear(l, ym, x, u)
	p.norm(post, dst, ym, s)
}

// qkv are the views that attention reads: the projections, or their normed copies.
func (p *pass) qkv(l *layerWeights, s *layerState) (q, k, v kernels.Heads) {
	a := &l.Attn
	q, k, v = p.heads(a.Q, a.HeadDim, s.proj, l.proj), p.heads(a.K, a.HeadDim, s.proj, l.proj), p.heads(a.V, a.HeadDim, s.proj, l.proj)
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
		Out: dense(s.attn, a.Q.N, a.HeadDim), LSE: s.lse.Slice(0, p.rows*a.Q.N), Scale: a.Scale, Softcap: a.Softcap, Window: a.Window}
}

// mlp is dst = Down(act(Gate h) * Up h) of h = PreMLP(x), normed by PostMLP.
func (p *pass) mlp(l *layerWeights, s *layerState, dst, x kernels.Mat) {
	h := x
	if l.preMLP.spec != nil {
		h = p.mat(p.w.h, p.Spec.Hidden)
		p.norm(l.preMLP, h, x, s.preMLP)
	}
	for i := range l.mlp {
		p.linear(&l.mlp[i], p.mat(s.mlp[i], l.mlp[i].Out), h, s.mlpU[i])
	}
	act := p.mat(p.w.act, l.MLP.Width)
	p.activate(l, s, act)
	p.residualLinear(&l.down, l.postMLP, dst, act, s.downU, s.mlpOut, s.postMLP)
}

// gateUp are the columns of gate and up in the projections' buffers.
func (p *pass) gateUp(l *layerWeights, s *layerState) (gate, up kernels.Mat) {
	m := &l.MLP
	up = p.mat(s.mlp[m.Up], l.mlp[m.Up].Out).Columns(m.UpOff, m.Width)
	if m.Gated {
		gate = p.mat(s.mlp[m.Gate], l.mlp[m.Gate].Out).Columns(m.GateOff, m.Width)
	}
	return gate, up
}

func (p *pass) activate(l *layerWeights, s *layerState, act kernels.Mat) {
	gate, up := p.gateUp(l, s)
	if l.MLP.Gated {
		p.dev.Gate(l.MLP.Act, act, gate, up)
	} else {
		p.dev.Activate(l.MLP.Act, act, up)
	}
}

// block is y = the block's output for input x.
func (p *pass) block(i int, y, x kernels.Mat) {
	l, s := &p.layers[i], p.w.state(i)
	t := p.mat(p.w.t, p.Spec.Hidden)
	p.attention(i, t, x)
	if l.Parallel {
		p.dev.Add(y, x, t)
		p.mlp(l, s, t, x)
		p.dev.Add(y, y, t)
		return
	}
	mid := p.mat(s.mid, p.Spec.Hidden)
	p.dev.Add(mid, x, t)
	p.mlp(l, s, t, mid)
	p.dev.Add(y, mid, t)
}

// Loss queues the forward pass of b in evaluation mode: w.Losses receives each
// token's loss in nats. It stops between blocks when ctx ends.
func (d *Decoder) Loss(ctx context.Context, w *Workspace, b Batch) error {
	p, err := d.begin(w, b)
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
	for i := range p.layers {
		if err := ctx.Err(); err != nil {
			return kernels.Mat{}, err
		}
		y := p.mat(p.w.x(i+1), hidden)
		p.block(i, y, x)
		if err := p.look(i, y); err != nil {
			return kernels.Mat{}, err
		}
		x = y
	}
	h := p.mat(p.w.h, hidden)
	p.norm(p.finalNorm, h, x, p.w.finalNorm)
	return h, nil
}

// loss is the head and each token's loss for x, the final norm's output.
func (p *pass) loss(x kernels.Mat) { p.dev.LinearCrossEntropy(p.lossOp(x)) }

func (p *pass) lossOp(x kernels.Mat) kernels.LinearCrossEntropy {
	op := kernels.LinearCrossEntropy{X: x, Head: p.head.weight, Bias: p.head.bias, Targets: p.w.targets.Slice(0, p.rows),
		Losses: p.w.Losses.Slice(0, p.rows), Softcap: p.Spec.LogitSoftcap}
	if p.module(&p.head) >= 0 {
		op.LoRA = kernels.HeadLoRA{U: p.lowRank(&p.head, x, p.w.headU), B: p.adapter.B(p.adapter.Param, p.module(&p.head)), Scale: p.adapter.Modules[p.module(&p.head)].Scale}
	}
	return op
}

// Logits runs the forward pass of b and returns the logits [rows, Vocab] of the
// given row numbers (row*Len + position).
func (d *Decoder) Logits(ctx context.Context, w *Workspace, b Batch, rows []int) ([]float32, error) {
	p, err := d.begin(w, b)
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
		p.linear(&p.head, kernels.Matrix(buf, 1, p.Spec.Vocab), h.RowRange(r, 1), p.w.headU)
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
