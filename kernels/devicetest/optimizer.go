package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

// flatSizes are lengths of flat buffers, up to several blocks of a reduction.
var flatSizes = []int{1, 3, 16, 17, 255, 4097, 100_003}

func sums(e *env) {
	for _, n := range flatSizes {
		x := e.normal(n)
		b := e.vector(x)
		dst := e.alloc(kernels.F64, 3)
		var sum, absolute, squares float64
		for _, v := range x {
			sum, absolute, squares = sum+v, absolute+math.Abs(v), squares+v*v
		}
		e.d.Sum(dst, 0, b)
		e.d.SumSquares(dst, 2, b)
		got := e.values(dst)
		// The sums are F64: only their order differs.
		e.checkTerms(fmt.Sprintf("Sum of %d", n), got[:1], []float64{sum}, absolute, 1e-14)
		e.check(fmt.Sprintf("SumSquares of %d", n), got[2:], []float64{squares}, 1e-13)
		e.checkExact("the element between", got[1:2], []float64{0})
	}
}

// adamW checks three steps in a row against the formulas of torch.optim.AdamW.
func adamW(e *env) {
	for _, n := range flatSizes {
		for _, maxNorm := range []float64{0, 1, 1e9} {
			for _, decay := range []float64{0, 0.1} {
				name := fmt.Sprintf("AdamW of %d, max norm %v, decay %v", n, maxNorm, decay)
				w, m, v := e.normal(n), make([]float64, n), make([]float64, n)
				p := kernels.AdamW{Param: e.vector(w), M: e.vector(m), V: e.vector(v), MaxNorm: maxNorm, LearningRate: 1e-2,
					Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: decay, NormSquared: e.alloc(kernels.F64, 1)}
				for p.Step = 1; p.Step <= 3; p.Step++ {
					g := e.normal(n)
					p.Grad = e.vector(g)
					e.d.SumSquares(p.NormSquared, 0, p.Grad)
					e.d.AdamW(p)
					clip := 1.0
					if maxNorm > 0 {
						var squares float64
						for _, x := range g {
							squares += x * x
						}
						clip = min(1, maxNorm/(math.Sqrt(squares)+1e-6))
					}
					for i := range w {
						grad := g[i] * clip
						m[i] = 0.9*m[i] + 0.1*grad
						v[i] = 0.999*v[i] + 0.001*grad*grad
						mHat := m[i] / (1 - math.Pow(0.9, float64(p.Step)))
						vHat := v[i] / (1 - math.Pow(0.999, float64(p.Step)))
						w[i] -= 1e-2 * (decay*w[i] + mHat/(math.Sqrt(vHat)+1e-8))
					}
				}
				e.check(name, e.values(p.Param), w, 1e-6)
				e.check(name+" M", e.values(p.M), m, 1e-6)
				e.check(name+" V", e.values(p.V), v, 1e-6)
			}
		}
		e.free()
	}
}

// adamWSkips checks that a gradient whose norm isn't finite moves nothing.
func adamWSkips(e *env) {
	for _, norm := range []float64{math.NaN(), math.Inf(1)} {
		for _, maxNorm := range []float64{0, 1} {
			w, m, v := e.normal(33), e.normal(33), e.normal(33)
			for i := range v {
				v[i] *= v[i]
			}
			g := e.normal(33)
			g[7] = norm
			p := kernels.AdamW{Param: e.vector(w), M: e.vector(m), V: e.vector(v), Grad: e.vector(g), MaxNorm: maxNorm, LearningRate: 1e-2,
				Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, NormSquared: e.alloc(kernels.F64, 1), Step: 2}
			e.d.SumSquares(p.NormSquared, 0, p.Grad)
			before := [][]float64{e.values(p.Param), e.values(p.M), e.values(p.V)}
			e.d.AdamW(p)
			for i, b := range []kernels.Buffer{p.Param, p.M, p.V} {
				e.checkExact(fmt.Sprintf("AdamW with a norm of %v, max norm %v", norm, maxNorm), e.values(b), before[i])
			}
		}
		e.free()
	}
}
