package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

func crossEntropy(e *env) {
	for _, c := range []struct {
		rows, dim, vocab int
		weights          kernels.DType
		bias             bool
		softcap          float32
		rank             int // of the adapter, 0: none
	}{
		{1, 1, 1, kernels.F32, false, 0, 0},
		{1, 1, 1, kernels.F32, false, 0, 1},
		{3, 5, 7, kernels.F32, true, 0, 2},
		{17, 24, 33, kernels.BF16, false, 0, 0},
		{9, 16, 130, kernels.F16, true, 3, 0},
		{20, 33, 65, kernels.NF4, false, 2, 5},
		{130, 32, 1000, kernels.F32, false, 0, 0},
		{33, 8, 20_011, kernels.BF16, false, 0, 0},
		{1030, 4, 300, kernels.F32, false, 0, 3}, // several chunks
		{5, 4, 70_001, kernels.F32, true, 30, 0},
	} {
		for _, l := range layouts {
			name := fmt.Sprintf("LinearCrossEntropy %dx%d by %d %v, bias %v, softcap %v, rank %d, at %d+%d",
				c.rows, c.dim, c.vocab, c.weights, c.bias, c.softcap, c.rank, l.off, l.gap)
			x := e.matrix("X", l, c.rows, c.dim, e.normal(c.rows*c.dim))
			head, w := e.weights(c.weights, c.vocab, c.dim)
			p := kernels.LinearCrossEntropy{X: x.Mat, Head: head, GradScale: 0.25, Softcap: c.softcap}
			o := crossEntropyOracle{LinearCrossEntropy: p, x: x.x, head: w, dim: c.dim, targets: make([]int32, c.rows)}
			if c.bias {
				o.bias = e.normal(c.vocab)
				p.Bias = e.vector(o.bias)
			}
			for i := range o.targets {
				o.targets[i] = int32(e.rng.IntN(c.vocab))
				if i%5 == 3 {
					o.targets[i] = -1 - int32(i)
				}
			}
			p.Targets = e.ints(o.targets)
			var u, du *matrix
			if c.rank > 0 {
				u, o.b, o.db = e.matrix("U", l, c.rows, c.rank, e.normal(c.rows*c.rank)), e.normal(c.vocab*c.rank), e.normal(c.vocab*c.rank)
				p.LoRA = kernels.HeadLoRA{U: u.Mat, B: kernels.Matrix(e.vector(o.b), c.vocab, c.rank), Scale: 0.5}
				o.u, o.LoRA.Scale = u.x, p.LoRA.Scale
				p.LoRA.DB = kernels.Matrix(e.vector(o.db), c.vocab, c.rank)
				du = e.dst("DU", l, c.rows, c.rank)
			}
			if !e.recording {
				o.run()
			}

			p.Losses = e.alloc(kernels.F32, c.rows)
			e.d.LinearCrossEntropy(p)
			e.checkTerms(name+" alone", e.values(p.Losses), o.losses, o.logit, 1e-6)

			p.Losses = e.vector(e.normal(c.rows))
			dx := e.dst("DX", l, c.rows, c.dim)
			p.DX = dx.Mat
			if c.rank > 0 {
				p.LoRA.DU = du.Mat
			}
			e.d.LinearCrossEntropy(p)
			e.checkTerms(name, e.values(p.Losses), o.losses, o.logit, 1e-6)
			e.checkTerms(name+" DX", dx.read(e), o.dx, o.term, 2e-6)
			e.unchanged(x)
			if c.rank > 0 {
				e.checkTerms(name+" DU", du.read(e), o.du, o.term, 2e-6)
				e.checkTerms(name+" DB", e.values(p.LoRA.DB.Buf), o.db, o.term, 2e-6)
				e.unchanged(u)
			}
		}
		e.free()
	}
}

// crossEntropyOracle is a kernels.LinearCrossEntropy in float64.
type crossEntropyOracle struct {
	kernels.LinearCrossEntropy
	x, head, bias []float64
	u, b          []float64
	targets       []int32
	dim           int

	losses, dx, du []float64
	db             []float64 // what there is of it before, and then the gradient too
	term           float64   // the largest term in a gradient
	logit          float64   // the largest logit, whose rounding a loss has
}

func (o *crossEntropyOracle) run() {
	vocab := len(o.head) / o.dim
	rank, scale := len(o.b)/vocab, float64(o.LoRA.Scale)
	o.losses, o.dx, o.du, o.term = make([]float64, len(o.targets)), make([]float64, len(o.x)), make([]float64, len(o.u)), 0
	for i, target := range o.targets {
		if target < 0 {
			continue
		}
		logits, slopes := make([]float64, vocab), make([]float64, vocab)
		var sum float64
		for v := range logits {
			var z float64
			for j := range o.dim {
				z += o.x[i*o.dim+j] * o.head[v*o.dim+j]
			}
			for j := range rank {
				z += scale * o.u[i*rank+j] * o.b[v*rank+j]
			}
			if o.bias != nil {
				z += o.bias[v]
			}
			slopes[v] = 1
			if c := float64(o.Softcap); c > 0 {
				z = c * math.Tanh(z/c)
				slopes[v] = 1 - z*z/(c*c)
			}
			logits[v] = z
			o.logit = max(o.logit, math.Abs(z))
			sum += math.Exp(z)
		}
		o.losses[i] = math.Log(sum) - logits[target]
		for v, z := range logits {
			p := math.Exp(z) / sum
			if v == int(target) {
				p--
			}
			p *= slopes[v] * float64(o.GradScale)
			for j := range o.dim {
				g := p * o.head[v*o.dim+j]
				o.dx[i*o.dim+j] += g
				o.term = max(o.term, math.Abs(g))
			}
			for j := range rank {
				gu, gb := scale*p*o.b[v*rank+j], scale*p*o.u[i*rank+j]
				o.du[i*rank+j] += gu
				o.db[v*rank+j] += gb
				o.term = max(o.term, math.Abs(gu), math.Abs(gb))
			}
		}
	}
}
