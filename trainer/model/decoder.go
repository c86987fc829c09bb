package model

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/lora"
)

// Decoder is a model's frozen weights on a device, and the LoRA adapter beside
// them where one is attached.
type Decoder struct {
	Spec *Spec
	dev  kernels.Device

	embed, positions kernels.Mat
	head             linearWeights
	layers           []layerWeights
	finalNorm        normWeights
	tables           map[string]*rotation

	maxLen  int // most positions of a row
	adapter *lora.Adapter
	lowest  int // block with a module of the adapter; as many as there are, where none has
	owned   []kernels.Buffer
}

type normWeights struct {
	spec         *Norm // nil: the identity
	weight, bias kernels.Buffer
}

type linearWeights struct {
	Linear
	weight kernels.Mat // [Out,In], or [In,Out] where Conv1D
	bias   kernels.Buffer
	module int // index in the adapter, or -1
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

// Targets are the model's linear modules, as LoRA knows them.
func (s *Spec) Targets() []lora.Target {
	linears := s.Linears()
	out := make([]lora.Target, 0, len(linears)+1)
	for _, l := range linears {
		out = append(out, lora.Target{Path: l.Path, In: l.In, Out: l.Out, Conv1D: l.Conv1D})
	}
	return append(out, lora.Target{Path: s.Head.Path, In: s.Head.In, Out: s.Head.Out, Head: true})
}

// Warnings are Notes, and what an adapter on these modules is not good for.
func (s *Spec) Warnings(modules []lora.Module) []string {
	if s.TiedHead && slices.ContainsFunc(modules, func(m lora.Module) bool { return m.Head }) {
		return append(slices.Clone(s.Notes), "the adapter is on the output head, whose weight is the embedding too: PEFT loads it so; for llama.cpp, merge it with scu merge")
	}
	return s.Notes
}

// Attach puts an adapter beside the weights; nil takes it away, and the model is
// its base again.
func (d *Decoder) Attach(a *lora.Adapter) {
	d.adapter, d.lowest = a, len(d.layers)
	set := func(l *linearWeights, block int) {
		l.module = -1
		if a != nil {
			l.module = a.Find(l.Path)
		}
		if l.module >= 0 {
			d.lowest = min(d.lowest, block)
		}
	}
	for i := range d.layers {
		l := &d.layers[i]
		for j := range l.proj {
			set(&l.proj[j], i)
		}
		for j := range l.mlp {
			set(&l.mlp[j], i)
		}
		set(&l.out, i)
		set(&l.down, i)
	}
	set(&d.head, len(d.layers))
}

// Close frees the weights. The files they were loaded from may be closed after it.
func (d *Decoder) Close() {
	for _, b := range d.owned {
		d.dev.Free(b)
	}
	d.owned = nil
}

// pass is the state of one run through the layers: which rows, and what LoRA's
// dropout depends on.
type pass struct {
	*Decoder
	w          *Workspace
	batch, len int
	rows       int
	start      int     // position of the rows' first token, where a cache holds those before
	cache      *Cache  // nil: attention sees this pass alone
	dropout    float32 // 0 in evaluation
	key        uint64  // of this micro-batch's dropout masks
}

func (p *pass) mat(b kernels.Buffer, cols int) kernels.Mat { return kernels.Matrix(b, p.rows, cols) }

// norm is dst = n(x), and keeps what the gradient needs in s.
func (p *pass) norm(n normWeights, dst, x kernels.Mat, s normState) {
	p.dev.Norm(n.op(dst, x, s))
}

func (n normWeights) op(dst, x kernels.Mat, s normState) kernels.Norm {
	s = s.rowsOf(x.Rows)
	return kernels.Norm{Dst: dst, X: x, Weight: n.weight, Bias: n.bias, Mean: s.mean, Rstd: s.rstd,
		Eps: n.spec.Eps, UnitOffset: n.spec.UnitOffset, LayerNorm: n.spec.LayerNorm}
}

// normGrad is dx = the gradient to n's input x, or dx += it.
func (p *pass) normGrad(n normWeights, dx, dy, x kernels.Mat, s normState, accumulate bool) {
	p.dev.NormGrad(kernels.NormGrad{Norm: n.op(kernels.Mat{}, x, s), DX: dx, DY: dy, Accumulate: accumulate})
}

// linear is dst = x W^T + b, plus the adapter's share. u [rows,R] receives
// drop(x) A^T, which the gradient needs.
func (p *pass) linear(l *linearWeights, dst, x kernels.Mat, u kernels.Buffer) {
	p.dev.MatMul(kernels.MatMul{Dst: dst, A: x, B: l.weight, TransB: !l.Conv1D, Alpha: 1, Bias: l.bias})
	if l.module < 0 {
		return
	}
	um := p.lowRank(l, x, u)
	p.dev.MatMul(kernels.MatMul{Dst: dst, A: um, B: p.adapter.B(p.adapter.Param, l.module), TransB: true, Alpha: p.adapter.Modules[l.module].Scale, Beta: 1})
}

// lowRank sets u to drop(x) A^T and returns it as a matrix.
func (p *pass) lowRank(l *linearWeights, x kernels.Mat, u kernels.Buffer) kernels.Mat {
	um := kernels.Matrix(u, x.Rows, p.adapter.Modules[l.module].R)
	p.dev.MatMul(kernels.MatMul{Dst: um, A: p.dropped(l, x), B: p.adapter.A(p.adapter.Param, l.module), TransB: true, Alpha: 1})
	return um
}

// dropped is x after LoRA's dropout: x itself in evaluation, else the scratch.
func (p *pass) dropped(l *linearWeights, x kernels.Mat) kernels.Mat {
	if p.dropout == 0 {
		return x
	}
	d := kernels.Matrix(p.w.dropped, x.Rows, x.Cols)
	p.dev.Dropout(d, x, p.dropout, kernels.Key(p.key, uint64(l.module)), false)
	return d
}

// linearGrad adds the gradients of the adapter's A and B, and, where dx has a
// buffer, sets dx = dy W + the adapter's share (dx += it where accumulate).
// x and u are those of the forward pass.
func (p *pass) linearGrad(l *linearWeights, dx, dy, x kernels.Mat, u kernels.Buffer, accumulate bool) {
	beta := float32(0)
	if accumulate {
		beta = 1
	}
	if dx.Buf != nil {
		p.dev.MatMul(kernels.MatMul{Dst: dx, A: dy, B: l.weight, TransB: l.Conv1D, Alpha: 1, Beta: beta})
	}
	if l.module < 0 {
		return
	}
	a, m := p.adapter, p.adapter.Modules[l.module]
	um, du := p.mat(u, m.R), p.mat(p.w.du, m.R)
	// dB += s dy^T u; du = s dy B
	p.dev.MatMul(kernels.MatMul{Dst: a.B(a.Grad, l.module), A: dy, B: um, TransA: true, Alpha: m.Scale, Beta: 1})
	p.dev.MatMul(kernels.MatMul{Dst: du, A: dy, B: a.B(a.Param, l.module), Alpha: m.Scale})
	p.lowRankGrad(l, dx, du, x)
}

// lowRankGrad is the backward pass of lowRank: dA += du^T drop(x) and, where dx has a
// buffer, dx += drop(du A).
func (p *pass) lowRankGrad(l *linearWeights, dx, du, x kernels.Mat) {
	a := p.adapter
	p.dev.MatMul(kernels.MatMul{Dst: a.A(a.Grad, l.module), A: du, B: p.dropped(l, x), TransA: true, Alpha: 1, Beta: 1})
	if dx.Buf == nil {
		return
	}
	if p.dropout == 0 {
		p.dev.MatMul(kernels.MatMul{Dst: dx, A: du, B: a.A(a.Param, l.module), Alpha: 1, Beta: 1})
		return
	}
	t := kernels.Matrix(p.w.dropped, dx.Rows, dx.Cols)
	p.dev.MatMul(kernels.MatMul{Dst: t, A: du, B: a.A(a.Param, l.module), Alpha: 1})
	p.dev.Dropout(dx, t, p.dropout, kernels.Key(p.key, uint64(l.module)), true)
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

// blockGrad turns dx, the gradient to the block's output, into the gradient to
// its input x, in place. Without below nothing under this block is trained, and
// dx is left undefined.
func (p *pass) blockGrad(i int, dx, x kernels.Mat, below bool) {
	l, s := &p.layers[i], p.w.state(i)
	hidden := p.Spec.Hidden
	dh, t := p.mat(p.w.dh, hidden), p.mat(p.w.t, hidden)
	if l.Parallel {
		// Both branches read the same gradient; the MLP's share waits in t.
		p.mlpGrad(l, s, t, dx, x)
		p.attentionGrad(l, s, dh, dx, x, below)
		if below {
			p.branchGrad(l.preMLP, dx, t, x, s.preMLP)
			p.branchGrad(l.preAttn, dx, dh, x, s.preAttn)
		}
		return
	}
	mid := p.mat(s.mid, hidden)
	p.mlpGrad(l, s, dh, dx, mid)
	p.branchGrad(l.preMLP, dx, dh, mid, s.preMLP)
	p.attentionGrad(l, s, dh, dx, x, below)
	if below {
		p.branchGrad(l.preAttn, dx, dh, x, s.preAttn)
	}
}

// branchGrad adds a branch's gradient dh, taken at its norm's output, to dx.
func (p *pass) branchGrad(n normWeights, dx, dh, x kernels.Mat, s normState) {
	if n.spec == nil {
		p.dev.Add(dx, dx, dh)
		return
	}
	p.normGrad(n, dx, dh, x, s, true)
}

// postGrad is the gradient to the input of a norm after a branch, in scratch; dy
// itself where there is none.
func (p *pass) postGrad(post normWeights, dy kernels.Mat, y kernels.Buffer, s normState) kernels.Mat {
	if post.spec == nil {
		return dy
	}
	d := p.mat(p.w.dpost, p.Spec.Hidden)
	p.normGrad(post, d, dy, p.mat(y, p.Spec.Hidden), s, false)
	return d
}

// normed computes a branch's input h = n(x) again: cheaper than to keep it.
func (p *pass) normed(n normWeights, x kernels.Mat, s normState) kernels.Mat {
	if n.spec == nil {
		return x
	}
	h := p.mat(p.w.h, p.Spec.Hidden)
	p.norm(n, h, x, s)
	return h
}

// mlpGrad is dh = the gradient to the MLP's normed input, for the gradient dy to
// its output. It overwrites the saved gate and up.
func (p *pass) mlpGrad(l *layerWeights, s *layerState, dh, dy, x kernels.Mat) {
	dy = p.postGrad(l.postMLP, dy, s.mlpOut, s.postMLP)
	act, dact := p.mat(p.w.act, l.MLP.Width), p.mat(p.w.dact, l.MLP.Width)
	if l.down.module >= 0 {
		p.activate(l, s, act)
	}
	p.linearGrad(&l.down, dact, dy, act, s.downU, false)
	gate, up := p.gateUp(l, s)
	if l.MLP.Gated {
		p.dev.GateGrad(l.MLP.Act, gate, up, gate, up, dact)
	} else {
		p.dev.ActivateGrad(l.MLP.Act, up, up, dact)
	}
	h := p.normed(l.preMLP, x, s.preMLP)
	for i := range l.mlp {
		p.linearGrad(&l.mlp[i], dh, p.mat(s.mlp[i], l.mlp[i].Out), h, s.mlpU[i], i > 0)
	}
}

// attentionGrad is dh = the gradient to the attention's normed input, for the
// gradient dy to its output.
func (p *pass) attentionGrad(l *layerWeights, s *layerState, dh, dy, x kernels.Mat, below bool) {
	a := &l.Attn
	dy = p.postGrad(l.postAttn, dy, s.attnOut, s.postAttn)
	dattn := p.mat(p.w.dattn, l.out.In)
	p.linearGrad(&l.out, dattn, dy, p.mat(s.attn, l.out.In), s.outU, false)

	q, k, v := p.qkv(l, s)
	dq, dk, dv := p.heads(a.Q, a.HeadDim, p.w.dproj, l.proj), p.heads(a.K, a.HeadDim, p.w.dproj, l.proj), p.heads(a.V, a.HeadDim, p.w.dproj, l.proj)
	if l.qNorm.spec != nil {
		dq = dense(p.w.dq, a.Q.N, a.HeadDim)
	}
	if l.kNorm.spec != nil {
		dk = dense(p.w.dk, a.K.N, a.HeadDim)
	}
	p.dev.AttentionGrad(kernels.AttentionGrad{Attention: p.attentionOp(l, s, q, k, v),
		DOut: dense(p.w.dattn, a.Q.N, a.HeadDim), DQ: dq, DK: dk, DV: dv})
	p.rotate(l.rope, dq, true)
	p.rotate(l.rope, dk, true)
	p.normHeadsGrad(l, l.qNorm, dq.Buf, a.Q, s, s.qNorm)
	p.normHeadsGrad(l, l.kNorm, dk.Buf, a.K, s, s.kNorm)

	h := p.normed(l.preAttn, x, s.preAttn)
	if !below {
		dh = kernels.Mat{}
	}
	for i := range l.proj {
		p.linearGrad(&l.proj[i], dh, p.mat(p.w.dproj[i], l.proj[i].Out), h, s.projU[i], i > 0)
	}
}

func (p *pass) normHeadsGrad(l *layerWeights, n normWeights, dy kernels.Buffer, v View, s *layerState, ns normState) {
	if n.spec != nil {
		p.normGrad(n, p.normRows(l, p.w.dproj[v.Proj], v), p.normRows(l, dy, v), p.normRows(l, s.proj[v.Proj], v), ns, false)
	}
}

// Batch is rows of tokens for one micro-batch: IDs and Targets are [Rows, Len].
// Targets[i] is the token that follows position i, or -1 where none counts.
type Batch struct {
	Rows, Len    int
	IDs, Targets []int32
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

// LossGrad queues the forward and backward pass of b in training mode: w.Losses
// receives each token's loss, and the adapter's Grad grows by gradScale times the
// gradient of their sum. key drives the dropout masks. It stops between blocks when
// ctx ends; Grad is then undefined.
func (d *Decoder) LossGrad(ctx context.Context, w *Workspace, b Batch, gradScale float32, key uint64) error {
	if !w.training {
		return fmt.Errorf("this workspace is for evaluation")
	}
	p, err := d.begin(w, b)
	if err != nil {
		return err
	}
	p.dropout, p.key = d.adapter.Dropout, key
	x, err := p.forward(ctx)
	if err != nil {
		return err
	}
	dx := p.mat(w.dx, d.Spec.Hidden)
	dh := p.mat(w.dh, d.Spec.Hidden)
	p.lossGrad(dh, x, gradScale)
	last := len(d.layers)
	p.normGrad(d.finalNorm, dx, dh, p.mat(w.x(last), d.Spec.Hidden), w.finalNorm, false)
	for i := last - 1; i >= d.lowest; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		in := p.mat(w.x(i), d.Spec.Hidden)
		if w.recompute && i != last-1 {
			p.block(i, p.mat(w.y, d.Spec.Hidden), in)
		}
		p.blockGrad(i, dx, in, i > d.lowest)
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

// forward runs the layers and returns the final norm's output.
func (p *pass) forward(ctx context.Context) (kernels.Mat, error) {
	hidden := p.Spec.Hidden
	x := p.mat(p.w.x(0), hidden)
	p.embedTokens(x)
	for i := range p.layers {
		if err := ctx.Err(); err != nil {
			return kernels.Mat{}, err
		}
		y := p.mat(p.w.x(i+1), hidden)
		p.block(i, y, x)
		x = y
	}
	h := p.mat(p.w.h, hidden)
	p.norm(p.finalNorm, h, x, p.w.finalNorm)
	return h, nil
}

// loss is the head and each token's loss for x, the final norm's output.
func (p *pass) loss(x kernels.Mat) { p.dev.LinearCrossEntropy(p.lossOp(x)) }

// lossGrad is loss, and dx = gradScale times the gradient of the losses' sum to x;
// it adds the gradients of the head's adapter.
func (p *pass) lossGrad(dx, x kernels.Mat, gradScale float32) {
	op := p.lossOp(x)
	op.GradScale, op.DX = gradScale, dx
	if p.head.module < 0 {
		p.dev.LinearCrossEntropy(op)
		return
	}
	op.LoRA.DU, op.LoRA.DB = p.mat(p.w.du, op.LoRA.U.Cols), p.adapter.B(p.adapter.Grad, p.head.module)
	p.dev.LinearCrossEntropy(op)
	p.lowRankGrad(&p.head, dx, op.LoRA.DU, x)
}

func (p *pass) lossOp(x kernels.Mat) kernels.LinearCrossEntropy {
	op := kernels.LinearCrossEntropy{X: x, Head: p.head.weight, Bias: p.head.bias, Targets: p.w.targets.Slice(0, p.rows),
		Losses: p.w.Losses.Slice(0, p.rows), Softcap: p.Spec.LogitSoftcap}
	if p.head.module >= 0 {
		op.LoRA = kernels.HeadLoRA{U: p.lowRank(&p.head, x, p.w.headU), B: p.adapter.B(p.adapter.Param, p.head.module), Scale: p.adapter.Modules[p.head.module].Scale}
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
