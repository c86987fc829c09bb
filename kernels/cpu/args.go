package cpu

// The arguments of operations, checked and in the form that both devices use.

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

// matMulShape returns the sizes after op, checked.
func matMulShape(g kernels.MatMul) (m, n, k int) {
	m, k = g.A.Rows, g.A.Cols
	if g.TransA {
		m, k = k, m
	}
	kb, n := g.B.Rows, g.B.Cols
	if g.TransB {
		kb, n = n, kb
	}
	if k != kb || g.Dst.Rows != m || g.Dst.Cols != n {
		panic(fmt.Sprintf("cpu: MatMul of %dx%d by %dx%d into %dx%d", m, k, kb, n, g.Dst.Rows, g.Dst.Cols))
	}
	return m, n, k
}

// norm is a kernels.Norm with its arguments checked, but for Dst.
type norm struct {
	kernels.Norm
	x                        mat
	weight, bias, mean, rstd []float32
}

func normArgs(p kernels.Norm) norm {
	x := floats("Norm", p.X)
	return norm{p, x, vector("Norm", p.Weight, x.cols), vector("Norm", p.Bias, x.cols),
		vector("Norm", p.Mean, x.rows), vector("Norm", p.Rstd, x.rows)}
}

// ropeTables checks the sizes and returns the tables.
func ropeTables(p kernels.RoPE) (cos, sin []float32) {
	cos, sin = flat("RoPE", p.Cos), flat("RoPE", p.Sin)
	positions := p.Start + min(p.Len, p.Rows)
	if p.Len < 1 || p.Start < 0 || p.Half < 0 || 2*p.Half > p.X.Dim || len(cos) < positions*p.Half || len(sin) < positions*p.Half {
		panic(fmt.Sprintf("cpu: RoPE of %d rows, %d from position %d, half %d of heads of %d, with tables of %d and %d elements",
			p.Rows, p.Len, p.Start, p.Half, p.X.Dim, len(cos), len(sin)))
	}
	return cos, sin
}

// attention is a kernels.Attention with its arguments checked.
type attention struct {
	kernels.Attention
	q, k, v, out heads
	lse          []float32
	group        int // query heads for each key head
}

func attentionArgs(p kernels.Attention) attention {
	queries, keys := p.Batch*p.QueryLen, p.Batch*p.KeyLen
	a := attention{Attention: p,
		q: headsOf("Attention", p.Q, queries), k: headsOf("Attention", p.K, keys),
		v: headsOf("Attention", p.V, keys), out: headsOf("Attention", p.Out, queries),
		lse: vector("Attention", p.LSE, queries*p.Q.N)}
	if p.QueryLen > p.KeyLen || p.K.N < 1 || p.Q.N%p.K.N != 0 {
		panic(fmt.Sprintf("cpu: Attention of %d queries over %d keys, %d heads over %d", p.QueryLen, p.KeyLen, p.Q.N, p.K.N))
	}
	a.like(a.q, a.out, a.q.n)
	a.like(a.k, a.v, a.k.n)
	a.group = a.q.n / a.k.n
	return a
}

// gradArgs checks the views that an AttentionGrad has besides.
func (a *attention) gradArgs(p kernels.AttentionGrad) (dout, dq, dk, dv heads) {
	queries, keys := p.Batch*p.QueryLen, p.Batch*p.KeyLen
	dout, dq = headsOf("AttentionGrad", p.DOut, queries), headsOf("AttentionGrad", p.DQ, queries)
	dk, dv = headsOf("AttentionGrad", p.DK, keys), headsOf("AttentionGrad", p.DV, keys)
	a.like(dout, dq, a.q.n)
	a.like(dk, dv, a.k.n)
	return dout, dq, dk, dv
}

// like checks that two views have n heads of the queries' size.
func (a *attention) like(x, y heads, n int) {
	if x.n != n || y.n != n || x.dim != a.q.dim || y.dim != a.q.dim {
		panic(fmt.Sprintf("cpu: Attention: %d heads of %d and %d of %d, want %d of %d", x.n, x.dim, y.n, y.dim, n, a.q.dim))
	}
}

// first and last (exclusive) are the keys that query i sees.
func (a *attention) first(i int) int {
	if a.Window <= 0 {
		return 0
	}
	return max(0, a.last(i)-a.Window)
}

func (a *attention) last(i int) int { return a.KeyLen - a.QueryLen + i + 1 }

// crossEntropy is a kernels.LinearCrossEntropy with its arguments checked; matrices
// that there are none of have no buffer.
type crossEntropy struct {
	kernels.LinearCrossEntropy
	x, head, dx  mat
	bias, losses []float32
	targets      []int32
	u, b, du, db mat // of LoRA
}

func crossEntropyArgs(p kernels.LinearCrossEntropy) crossEntropy {
	const op = "LinearCrossEntropy"
	x, head := floats(op, p.X), matrix(op, p.Head)
	head.want(op, head.rows, x.cols)
	c := crossEntropy{LinearCrossEntropy: p, x: x, head: head, bias: vector(op, p.Bias, head.rows),
		targets: integers(op, p.Targets, x.rows), losses: vector(op, p.Losses, x.rows)}
	for i, t := range c.targets {
		if int(t) >= head.rows {
			panic(fmt.Sprintf("cpu: LinearCrossEntropy: target %d at row %d of a vocabulary of %d", t, i, head.rows))
		}
	}
	if p.LoRA.U.Buf != nil {
		c.u, c.b = shaped(op, p.LoRA.U, x.rows, p.LoRA.U.Cols), shaped(op, p.LoRA.B, head.rows, p.LoRA.U.Cols)
	}
	if p.DX.Buf == nil {
		return c
	}
	c.dx = shaped(op, p.DX, x.rows, x.cols)
	if p.LoRA.U.Buf != nil {
		c.du, c.db = shaped(op, p.LoRA.DU, x.rows, c.u.cols), shaped(op, p.LoRA.DB, head.rows, c.u.cols)
	}
	return c
}

// adamScalars are the numbers of a step that all elements share.
type adamScalars struct {
	clip      float64 // of the gradient
	decay     float64 // 1 - lr * weight decay
	rate      float64 // lr / (1 - beta1^step)
	rootBias2 float64 // 1 / sqrt(1 - beta2^step)
}

// adamCoefficients gives ok only if the gradient's norm is finite.
func adamCoefficients(p kernels.AdamW) (c adamScalars, ok bool) {
	c = adamScalars{
		clip:      1,
		decay:     1 - p.LearningRate*p.WeightDecay,
		rate:      p.LearningRate / (1 - math.Pow(p.Beta1, float64(p.Step))),
		rootBias2: 1 / math.Sqrt(1-math.Pow(p.Beta2, float64(p.Step))),
	}
	norm := math.Sqrt(*double("AdamW", p.NormSquared, 0))
	if p.MaxNorm > 0 {
		c.clip = min(1, p.MaxNorm/(norm+1e-6))
	}
	return c, !math.IsNaN(norm) && !math.IsInf(norm, 0)
}
