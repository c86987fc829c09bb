package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

func axpy(e *env) {
	for _, n := range []int{1, 7, 16, 33, 20_001} {
		x, y := e.normal(n), e.normal(n)
		bx, by := e.vector(x), e.vector(y)
		const alpha = 1e-3
		scalars := e.alloc(kernels.F64, 3)
		e.d.WriteF64(scalars, []float64{math.NaN(), alpha, math.NaN()})
		e.d.Axpy(by, kernels.Scalar{Buf: scalars, I: 1}, bx)
		want := each(n, func(i int) float64 { return y[i] + alpha*x[i] })
		e.checkF32(fmt.Sprintf("Axpy %d", n), e.values(by), want, 0, 1e-7)
	}
}

// adamW checks three steps in a row against the formulas of torch.optim.AdamW.
func adamW(e *env) {
	for _, n := range flatSizes {
		for _, maxNorm := range []float64{0, 1, 1e9} {
			for _, decay := range []float64{0, 0.1} {
				name := fmt.Sprintf("AdamW of %d, max norm %v, decay %v", n, maxNorm, decay)
				w, m, v := e.normal(n), make([]float64, n), make([]float64, n)
				p := kernels.AdamW{Param: e.vector(w), M: e.vector(m), V: e.vector(v), MaxNorm: maxNorm, Rates: e.alloc(kernels.F64, 3),
					Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: decay, NormSquared: kernels.Scalar{Buf: e.alloc(kernels.F64, 2), I: 1}}
				for step := 1.0; step <= 3; step++ {
					e.d.WriteF64(p.Rates, []float64{1e-2, 1 - math.Pow(0.9, step), 1 - math.Pow(0.999, step)})
					g := e.normal(n)
					p.Grad = e.vector(g)
					e.d.SumSquares(p.NormSquared, p.Grad)
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
						mHat := m[i] / (1 - math.Pow(0.9, step))
						vHat := v[i] / (1 - math.Pow(0.999, step))
						w[i] -= 1e-2 * (decay*w[i] + mHat/(math.Sqrt(vHat)+1e-8))
					}
				}
				e.checkF32(name, e.values(p.Param), w, 0, 1e-6)
				e.checkF32(name+" M", e.values(p.M), m, 0, 1e-6)
				e.checkF32(name+" V", e.values(p.V), v, 0, 1e-6)
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
			p := kernels.AdamW{Param: e.vector(w), M: e.vector(m), V: e.vector(v), Grad: e.vector(g), MaxNorm: maxNorm, Rates: e.alloc(kernels.F64, 3),
				Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, NormSquared: kernels.Scalar{Buf: e.alloc(kernels.F64, 1)}}
			e.d.WriteF64(p.Rates, []float64{1e-2, 0.2, 0.002})
			e.d.SumSquares(p.NormSquared, p.Grad)
			before := [][]float64{e.values(p.Param), e.values(p.M), e.values(p.V)}
			e.d.AdamW(p)
			for i, b := range []kernels.Buffer{p.Param, p.M, p.V} {
				e.equal(fmt.Sprintf("AdamW with a norm of %v, max norm %v", norm, maxNorm), e.values(b), before[i])
			}
		}
		e.free()
	}
}
