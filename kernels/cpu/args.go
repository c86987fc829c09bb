package cpu

// The arguments of operations, checked.

import (
	"fmt"
	"math"
	"slices"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

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

// ropeArgs checks the sizes and returns the tables, and the position of each row.
func ropeArgs(p kernels.RoPE) (cos, sin []float32, position func(row int) int) {
	cos, sin = flat("RoPE", p.Cos), flat("RoPE", p.Sin)
	position = func(r int) int { return p.Start + r%p.Len }
	most := p.Start + min(p.Len, p.Rows) // of positions
	if p.Positions != nil {
		given := integers("RoPE", p.Positions, p.Rows)
		position = func(r int) int { return int(given[r]) }
		if p.Rows > 0 {
			most = int(slices.Max(given)) + 1
			if first := slices.Min(given); first < 0 {
				panic(fmt.Sprintf("cpu: RoPE at position %d", first))
			}
		}
	}
	if p.Len < 1 || p.Start < 0 || p.Half < 0 || 2*p.Half > p.X.Dim || len(cos) < most*p.Half || len(sin) < most*p.Half {
		panic(fmt.Sprintf("cpu: RoPE of %d rows up to position %d, half %d of heads of %d, with tables of %d and %d elements",
			p.Rows, most-1, p.Half, p.X.Dim, len(cos), len(sin)))
	}
	return cos, sin, position
}

func embedArgs(p kernels.Embed) (y, table mat, ids []int32) {
	y, table = floats("Embed", p.Dst), matrix("Embed", p.Table)
	table.want("Embed", table.rows, y.cols)
	ids = integers("Embed", p.IDs, y.rows)
	for i, id := range ids {
		if id < 0 || int(id) >= table.rows {
			panic(fmt.Sprintf("cpu: Embed: id %d at row %d of a table of %d", id, i, table.rows))
		}
	}
	return y, table, ids
}

// maskOf is a mask as its key stands now.
func maskOf(m kernels.Mask) random.Mask {
	if m.P == 0 {
		return random.NewMask(0, 0)
	}
	b, ok := m.Key.Buf.(*buffer)
	if !ok || b.dtype != kernels.U64 || m.Key.I < 0 || m.Key.I >= b.n {
		panic(fmt.Sprintf("cpu: a mask's key is no element of a U64 buffer: %v", m.Key))
	}
	return random.NewMask(m.P, random.Key(b.u64[m.Key.I], m.Module))
}

// attention is a kernels.Attention with its arguments checked.
type attention struct {
	kernels.Attention
	q, k, v, out heads
	lse          []float32
	starts       []int32 // or nil
	group        int     // query heads for each key head
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
	if p.Starts != nil {
		a.starts = integers("Attention", p.Starts, keys)
		for i, start := range a.starts {
			position := i % p.KeyLen
			if start < 0 || int(start) > position || position > 0 && start < a.starts[i-1] {
				panic(fmt.Sprintf("cpu: Attention: position %d of row %d belongs to a segment from %d on", position, i/p.KeyLen, start))
			}
		}
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

// first and last (exclusive) are the keys that query i of batch row b sees. Neither
// decreases along a row.
func (a *attention) first(b, i int) (first int) {
	if a.starts != nil {
		first = int(a.starts[b*a.KeyLen+a.last(i)-1])
	}
	if a.Window > 0 {
		first = max(first, a.last(i)-a.Window)
	}
	return first
}

func (a *attention) last(i int) int { return a.KeyLen - a.QueryLen + i + 1 }

// crossEntropy is a kernels.LinearCrossEntropy with its arguments checked; absent
// matrices have no buffer.
type crossEntropy struct {
	kernels.LinearCrossEntropy
	x, head, dx  mat
	bias, losses []float32
	targets      []int32
	gradScale    float32
	u, b, db     mat // of LoRA
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
	if p.LoRA.A.Buf != nil {
		c.u, c.b = shaped(op, p.LoRA.U, x.rows, p.LoRA.A.Rows), shaped(op, p.LoRA.B, head.rows, p.LoRA.A.Rows)
	}
	if p.DX.Buf == nil {
		return c
	}
	c.dx, c.gradScale = shaped(op, p.DX, x.rows, x.cols), float32(*double(op, p.GradScale))
	if p.LoRA.A.Buf != nil {
		c.db = shaped(op, p.DB, head.rows, c.u.cols)
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
	b := p.Rates.(*buffer)
	if b.dtype != kernels.F64 || b.n != 3 {
		panic(fmt.Sprintf("cpu: AdamW: rates in a buffer of %d %v, want 3 F64", b.n, b.dtype))
	}
	learningRate, bias1, bias2 := b.f64[0], b.f64[1], b.f64[2]
	c = adamScalars{clip: 1, decay: 1 - learningRate*p.WeightDecay, rate: learningRate / bias1, rootBias2: 1 / math.Sqrt(bias2)}
	norm := math.Sqrt(*double("AdamW", p.NormSquared))
	if p.MaxNorm > 0 {
		c.clip = min(1, p.MaxNorm/(norm+1e-6))
	}
	return c, !math.IsNaN(norm) && !math.IsInf(norm, 0)
}
