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

// linearGrad adds the gradients of the adapter's A and B of the layers that read x,
// for the gradients dy to their outputs, and, if dx has a buffer, sets it to the
// gradient to x. x and u are those of the forward pass.
func (p *pass) linearGrad(dx, x kernels.Mat, u kernels.Buffer, layers []*linearWeights, dy ...kernels.Mat) {
	p.dev.LinearGrad(p.linearGradOp(dx, x, u, layers, dy...))
}

func (p *pass) linearGradOp(dx, x kernels.Mat, u kernels.Buffer, layers []*linearWeights, dy ...kernels.Mat) kernels.LinearGrad {
	op := kernels.LinearGrad{X: x, DX: dx, Mask: p.mask(layers), Spare: layers[0].room}
	if len(layers) == 1 {
		op.Spare = min(op.Spare, dy[0].Stride-dy[0].Cols)
	}
	adapters := p.loras(layers, x.Rows, u)
	for i, l := range layers {
		part := kernels.LinearPartGrad{DY: dy[i]}
		part.W, part.Conv1D, part.LoRA = l.weight, l.Conv1D, adapters[i]
		if m := p.module(l); m >= 0 {
			part.DA, part.DB = p.adapter.A(p.adapter.Grad, m), p.adapter.B(p.adapter.Grad, m)
		}
		op.Parts = append(op.Parts, part)
	}
	return op
}

// normedGradOp is linearGradOp of layers that read the norm n of x, which wasn't kept.
func (p *pass) normedGradOp(dx kernels.Mat, n normWeights, x kernels.Mat, s normState, u kernels.Buffer, layers []*linearWeights, dy ...kernels.Mat) kernels.LinearGrad {
	if n.spec == nil {
		return p.linearGradOp(dx, x, u, layers, dy...)
	}
	op := p.linearGradOp(dx, p.roomy(p.w.h, p.Spec.Hidden), u, layers, dy...)
	op.Norm = n.op(kernels.Mat{}, x, s)
	return op
}

// blockGrad turns dx, the gradient to the block's output, into the gradient to
// its input x, in place. Without below nothing under this block is trained, and
// dx is left undefined.
func (p *pass) blockGrad(i int, dx, x kernels.Mat, below bool) {
	l, s := &p.layers[i], p.w.state(i)
	hidden := p.Spec.Hidden
	dh := p.mat(p.w.dh, hidden)
	if s.lendsMLP {
		p.mlpAgain(l, s, x)
	}
	p.awaitCopies(s)
	if l.Parallel {
		// Both branches read the same gradient; the MLP's share waits in t.
		t := p.mat(p.w.t, hidden)
		p.mlpGrad(l, s, t, dx, x)
		p.bringBack(s.over)
		p.attentionGrad(l, s, dh, dx, x, below)
		if below {
			p.branchGrad(l.preMLP, dx, t, x, s.preMLP)
			p.branchGrad(l.preAttn, dx, dh, x, s.preAttn)
		}
		return
	}
	mid := p.mat(s.mid, hidden)
	p.mlpGrad(l, s, dh, dx, mid)
	p.bringBack(s.over)
	p.branchGrad(l.preMLP, dx, dh, mid, s.preMLP)
	p.attentionGrad(l, s, dh, dx, x, below)
	if below {
		p.branchGrad(l.preAttn, dx, dh, x, s.preAttn)
	}
}

// mlpAgain makes the results of the projections that the MLP begins with, which a
// later block has written over. x is the block's input.
func (p *pass) mlpAgain(l *layerWeights, s *layerState, x kernels.Mat) {
	if !l.Parallel {
		x = p.mat(s.mid, p.Spec.Hidden)
	}
	p.linear(p.normed(l.preMLP, x, s.preMLP), s.mlpU, l.mlpInputs(), p.outputs(l.mlpInputs(), s.mlp)...)
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
	d := p.roomy(p.w.dpost, p.Spec.Hidden)
	p.normGrad(post, d, dy, p.mat(y, p.Spec.Hidden), s, false)
	return d
}

// mlpGrad is dh = the gradient to the MLP's normed input, for the gradient dy to
// its output. It overwrites the saved gate and up.
func (p *pass) mlpGrad(l *layerWeights, s *layerState, dh, dy, x kernels.Mat) {
	dy = p.postGrad(l.postMLP, dy, s.mlpOut, s.postMLP)
	act, dact := p.roomy(p.w.act, l.MLP.Width), p.mat(p.w.dact, l.MLP.Width)
	gate, up := p.gateUp(l, s)
	down := p.linearGradOp(dact, act, s.downU, l.mlpOutput(), dy)
	in := p.normedGradOp(dh, l.preMLP, x, s.preMLP, s.mlpU, l.mlpInputs(), p.outputs(l.mlpInputs(), s.mlp)...)
	p.dev.ActivatedLinearGrad(kernels.ActivatedLinearGrad{Act: l.MLP.Act, Gate: gate, Up: up, Down: down, In: in})
}

// attentionGrad is dh = the gradient to the attention's normed input, for the
// gradient dy to its output.
func (p *pass) attentionGrad(l *layerWeights, s *layerState, dh, dy, x kernels.Mat, below bool) {
	a := &l.Attn
	dy = p.postGrad(l.postAttn, dy, s.attnOut, s.postAttn)
	dattn := p.mat(p.w.dattn, l.out.In)
	p.linearGrad(dattn, p.roomy(s.attn, l.out.In), s.outU, l.output(), dy)

	q, k, v := p.qkv(l, s)
	dproj := p.outputs(l.projections(), p.w.dproj)
	dq, dk, dv := heads(a.Q, a.HeadDim, dproj), heads(a.K, a.HeadDim, dproj), heads(a.V, a.HeadDim, dproj)
	if l.qNorm.spec != nil {
		dq = dense(p.w.dq, a.Q.N, a.HeadDim)
	}
	if l.kNorm.spec != nil {
		dk = dense(p.w.dk, a.K.N, a.HeadDim)
	}
	p.dev.AttentionGrad(kernels.AttentionGrad{Attention: p.attentionOp(l, s, q, k, v),
		DOut: dense(p.w.dattn, a.Q.N, a.HeadDim), DQ: dq, DK: dk, DV: dv, Rotation: p.rotation(l.rope)})
	p.normHeadsGrad(l, l.qNorm, dq.Buf, a.Q, s, s.qNorm)
	p.normHeadsGrad(l, l.kNorm, dk.Buf, a.K, s, s.kNorm)

	if !below {
		dh = kernels.Mat{}
	}
	p.dev.LinearGrad(p.normedGradOp(dh, l.preAttn, x, s.preAttn, s.projU, l.projections(), dproj...))
}

func (p *pass) normHeadsGrad(l *layerWeights, n normWeights, dy kernels.Buffer, v View, s *layerState, ns normState) {
	if n.spec != nil {
		p.normGrad(n, p.normRows(l, p.w.dproj[v.Proj], v), p.normRows(l, dy, v), p.normRows(l, s.proj[v.Proj], v), ns, false)
	}
}

// LossGrad queues the forward and backward pass of the i-th staged micro-batch in
// training mode: w.Losses receives each token's loss, and the adapter's Grad grows
// by gradScale (F64) times the gradient of their sum. It stops between blocks when
// ctx ends; Grad is then undefined.
func (d *Decoder) LossGrad(ctx context.Context, w *Workspace, i int, gradScale kernels.Scalar) error {
	if !w.training {
		return fmt.Errorf("this workspace is for evaluation")
	}
	p, err := d.begin(w, i)
	if err != nil {
		return err
	}
	p.dropout, p.goesBack = kernels.Mask{P: d.adapter.Dropout, Key: p.in.key}, true
	return w.settle(d.dev.Repeat(p.key(gradScale), func() error {
		x, err := p.forward(ctx)
		if err != nil {
			return err
		}
		return p.backward(ctx, x, gradScale)
	}))
}

// key tells all that a training pass's operations depend on, beside the decoder's and
// the workspace's buffers.
func (p *pass) key(gradScale kernels.Scalar) string {
	longest := 0
	for _, t := range p.tables {
		if t.hasTwoSets {
			longest = p.in.longest
		}
	}
	return fmt.Sprintf("%p %p %p+%d micro-batch %v at %d of %dx%d, documents %t, longest %d",
		p.Decoder, p.w, gradScale.Buf, gradScale.I, p.in.key.I, p.in.at, p.batch, p.len, p.in.starts != nil, longest)
}

// backward is the loss and its gradient for x, the final norm's output, back to the
// lowest block that is trained.
func (p *pass) backward(ctx context.Context, x kernels.Mat, gradScale kernels.Scalar) error {
	w, hidden, last := p.w, p.Spec.Hidden, len(p.layers)
	dx, dh := p.roomy(w.dx, hidden), p.mat(w.dh, hidden)
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
			p.block(i, p.mat(w.y, hidden), in, p.normed(p.layers[i].preAttn, in, w.state(i).preAttn), normWeights{}, normState{})
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

// lossGrad is the loss, and dx = gradScale times the gradient of the losses' sum to x;
// it adds the gradients of the head's adapter.
func (p *pass) lossGrad(dx, x kernels.Mat, gradScale kernels.Scalar) {
	op := p.lossOp(x)
	op.GradScale, op.DX = gradScale, dx
	if m := p.module(&p.head); m >= 0 {
		op.DA, op.DB = p.adapter.A(p.adapter.Grad, m), p.adapter.B(p.adapter.Grad, m)
	}
	p.dev.LinearCrossEntropy(op)
}
