package model

import (
	"context"
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// normGrad is dx = the gradient to n's input x, or dx += it.
func (p *pass) normGrad(n normWeights, dx, dy, x kernels.Mat, s normState, accumulate bool) {
	p.dev.NormGrad(kernels.NormGrad{Norm: n.op(kernels.Mat{}, x, s), DX: dx, DY: dy, Accumulate: accumulate})
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
	if p.module(l) < 0 {
		return
	}
	a, m := p.adapter, p.adapter.Modules[p.module(l)]
	um, du := p.mat(u, m.R), p.mat(p.w.du, m.R)
	// dB += s dy^T u; du = s dy B
	p.dev.MatMul(kernels.MatMul{Dst: a.B(a.Grad, p.module(l)), A: dy, B: um, TransA: true, Alpha: m.Scale, Beta: 1})
	p.dev.MatMul(kernels.MatMul{Dst: du, A: dy, B: a.B(a.Param, p.module(l)), Alpha: m.Scale})
	p.lowRankGrad(l, dx, du, x)
}

// lowRankGrad is the backward pass of lowRank: dA += du^T drop(x) and, where dx has a
// buffer, dx += drop(du A).
func (p *pass) lowRankGrad(l *linearWeights, dx, du, x kernels.Mat) {
	a := p.adapter
	p.dev.MatMul(kernels.MatMul{Dst: a.A(a.Grad, p.module(l)), A: du, B: p.dropped(l, x), TransA: true, Alpha: 1, Beta: 1})
	if dx.Buf == nil {
		return
	}
	if p.dropout == 0 {
		p.dev.MatMul(kernels.MatMul{Dst: dx, A: du, B: a.A(a.Param, p.module(l)), Alpha: 1, Beta: 1})
		return
	}
	t := kernels.Matrix(p.w.dropped, dx.Rows, dx.Cols)
	p.dev.MatMul(kernels.MatMul{Dst: t, A: du, B: a.A(a.Param, p.module(l)), Alpha: 1})
	p.dev.Dropout(dx, t, p.dropout, kernels.Key(p.key, uint64(p.module(l))), true)
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
	if p.module(&l.down) >= 0 {
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
	return p.backward(ctx, x, gradScale)
}

// backward is the loss and its gradient for x, the final norm's output, back to the
// lowest block that is trained.
func (p *pass) backward(ctx context.Context, x kernels.Mat, gradScale float32) error {
	w, hidden, last := p.w, p.Spec.Hidden, len(p.layers)
	dx, dh := p.mat(w.dx, hidden), p.mat(w.dh, hidden)
	p.lossGrad(dh, x, gradScale)
	p.normGrad(p.finalNorm, dx, dh, p.mat(w.x(last), hidden), w.finalNorm, false)
	if err := p.look(last, dx); err != nil {
		return err
	}
	for i := last - 1; i >= p.lowest; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		in, below := p.mat(w.x(i), hidden), i > p.lowest
		if w.recompute && i != last-1 {
			p.block(i, p.mat(w.y, hidden), in)
		}
		p.blockGrad(i, dx, in, below)
		if !below {
			dx = kernels.Mat{}
		}
		if err := p.look(i, dx); err != nil {
			return err
		}
	}
	return nil
}

// lossGrad is loss, and dx = gradScale times the gradient of the losses' sum to x;
// it adds the gradients of the head's adapter.
func (p *pass) lossGrad(dx, x kernels.Mat, gradScale float32) {
	op := p.lossOp(x)
	op.GradScale, op.DX = gradScale, dx
	if p.module(&p.head) < 0 {
		p.dev.LinearCrossEntropy(op)
		return
	}
	op.LoRA.DU, op.LoRA.DB = p.mat(p.w.du, op.LoRA.U.Cols), p.adapter.B(p.adapter.Grad, p.module(&p.head))
	p.dev.LinearCrossEntropy(op)
	p.lowRankGrad(&p.head, dx, op.LoRA.DU, x)
}
