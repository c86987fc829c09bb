package devicetest

import (
	"fmt"
	"math"
	"slices"

	"github.com/shannon-control/scu/kernels"
)

func add(e *env) {
	for _, l := range layouts {
		for _, size := range sizes {
			rows, cols := size[0], size[1]
			name := shape("Add", size, l)
			a := e.matrix("a", layouts[0], rows, cols, e.normal(rows*cols))
			b := e.matrix("b", l, rows, cols, e.normal(rows*cols))
			want := each(rows*cols, func(i int) float64 { return a.x[i] + b.x[i] })
			dst := e.dst("dst", l, rows, cols)
			e.d.Add(dst.Mat, a.Mat, b.Mat)
			e.checkExact(name, dst.read(e), want)
			e.unchanged(a, b)
			e.d.Add(b.Mat, a.Mat, b.Mat)
			e.checkExact(name+" into b", b.read(e), want)
			e.d.Add(a.Mat, a.Mat, a.Mat)
			e.checkExact(name+" a to a", a.read(e), each(rows*cols, func(i int) float64 { return 2 * a.x[i] }))
		}
		e.free()
	}
}

func norms(e *env) {
	for _, l := range layouts {
		for _, size := range sizes {
			for _, p := range []kernels.Norm{
				{Eps: 1e-6},
				{Eps: 1e-5, UnitOffset: true},
				{Eps: 1e-5, LayerNorm: true},
			} {
				for _, weighted := range []bool{true, false} {
					norm(e, l, size, p, weighted)
				}
			}
		}
		e.free()
	}
}

// normOracle is one row; weight and bias may be nil.
func normOracle(p kernels.Norm, x, weight, bias []float64) (y []float64, mean, rstd float64) {
	n := float64(len(x))
	if p.LayerNorm {
		for _, v := range x {
			mean += v / n
		}
	}
	var variance float64
	for _, v := range x {
		variance += (v - mean) * (v - mean) / n
	}
	rstd = 1 / math.Sqrt(variance+float64(p.Eps))
	return each(len(x), func(j int) float64 {
		v := (x[j] - mean) * rstd
		if weight != nil {
			w := weight[j]
			if p.UnitOffset {
				w++
			}
			v *= w
		}
		if bias != nil {
			v += bias[j]
		}
		return v
	}), mean, rstd
}

func norm(e *env, l layout, size [2]int, p kernels.Norm, weighted bool) {
	rows, cols := size[0], size[1]
	name := shape(fmt.Sprintf("Norm layer %v offset %v weight %v", p.LayerNorm, p.UnitOffset, weighted), size, l)
	// A mean away from 0, as residual streams have, and one row of a tiny scale.
	values := e.normal(rows * cols)
	for i := range values {
		values[i] = e.round(values[i] + 0.7)
		if i/cols == 1 {
			values[i] = e.round(values[i] * 1e-3)
		}
	}
	x, dy := e.matrix("X", l, rows, cols, values), e.matrix("DY", layouts[0], rows, cols, e.normal(rows*cols))
	var weight, bias []float64
	if weighted {
		weight = e.normal(cols)
		p.Weight = e.vector(weight)
		if p.LayerNorm {
			bias = e.normal(cols)
			p.Bias = e.vector(bias)
		}
	}
	p.Rstd = e.alloc(kernels.F32, rows)
	if p.LayerNorm {
		p.Mean = e.alloc(kernels.F32, rows)
	}
	dst := e.dst("Dst", l, rows, cols)
	p.Dst, p.X = dst.Mat, x.Mat
	e.d.Norm(p)

	var want, means, rstds, grads, terms []float64
	for i := range rows {
		row := x.x[i*cols : (i+1)*cols]
		y, mean, rstd := normOracle(p, row, weight, bias)
		grad, term := normGradOracle(p, row, weight, dy.x[i*cols:(i+1)*cols])
		want, means, rstds = append(want, y...), append(means, mean), append(rstds, rstd)
		grads, terms = append(grads, grad...), append(terms, term)
	}
	e.check(name, dst.read(e), want, 1e-6)
	e.checkF32(name+" rstd", e.values(p.Rstd), rstds, 0, 5e-7)
	if p.LayerNorm {
		e.checkF32(name+" mean", e.values(p.Mean), means, 0, 5e-7)
	}

	// The same norm of a sum, into the place of one of its terms and elsewhere.
	for _, inPlace := range []bool{true, false} {
		a, b := e.matrix("A", layouts[0], rows, cols, e.normal(rows*cols)), e.matrix("B", l, rows, cols, e.normal(rows*cols))
		sum, dst := a, e.dst("Dst", l, rows, cols)
		if !inPlace {
			sum = e.dst("X", l, rows, cols)
		}
		op := kernels.AddNorm{Norm: p, A: a.Mat, B: b.Mat}
		op.X, op.Dst = sum.Mat, dst.Mat
		op.Rstd, op.Mean = e.alloc(kernels.F32, rows), nil
		if p.LayerNorm {
			op.Mean = e.alloc(kernels.F32, rows)
		}
		x := each(rows*cols, func(i int) float64 { return e.round(a.x[i] + b.x[i]) })
		e.d.AddNorm(op)
		e.checkExact(name+" of a sum: the sum", sum.read(e), x)
		var want, means, rstds []float64
		for i := range rows {
			y, mean, rstd := normOracle(p, x[i*cols:(i+1)*cols], weight, bias)
			want, means, rstds = append(want, y...), append(means, mean), append(rstds, rstd)
		}
		e.check(name+" of a sum", dst.read(e), want, 1e-6)
		e.checkF32(name+" of a sum: rstd", e.values(op.Rstd), rstds, 0, 5e-7)
		if p.LayerNorm {
			e.checkF32(name+" of a sum: mean", e.values(op.Mean), means, 1, 5e-7)
		}
		e.unchanged(b)
	}

	p.Dst = kernels.Mat{}
	dx := e.dst("DX", l, rows, cols)
	e.d.NormGrad(kernels.NormGrad{Norm: p, DX: dx.Mat, DY: dy.Mat})
	got := dx.read(e)
	for i := range rows { // each row to its own scale
		e.checkTerms(fmt.Sprintf("%s grad, row %d", name, i), got[i*cols:(i+1)*cols], grads[i*cols:(i+1)*cols], terms[i], 1e-6)
	}
	sum := e.matrix("DX", l, rows, cols, e.normal(rows*cols))
	e.d.NormGrad(kernels.NormGrad{Norm: p, DX: sum.Mat, DY: dy.Mat, Accumulate: true})
	e.checkTerms(name+" grad added", sum.read(e), each(rows*cols, func(i int) float64 { return sum.x[i] + grads[i] }), slices.Max(terms), 1e-6)
	e.unchanged(x, dy)
}

// normGradOracle is the gradient of sum(dy y) to x, and the size of the terms
// whose difference it is.
func normGradOracle(p kernels.Norm, x, weight, dy []float64) (dx []float64, term float64) {
	n := float64(len(x))
	_, mean, rstd := normOracle(p, x, nil, nil)
	h := each(len(x), func(j int) float64 { return (x[j] - mean) * rstd })
	g := each(len(x), func(j int) float64 {
		switch {
		case weight == nil:
			return dy[j]
		case p.UnitOffset:
			return dy[j] * (1 + weight[j])
		}
		return dy[j] * weight[j]
	})
	var meanG, meanGH float64
	for j, v := range g {
		if p.LayerNorm {
			meanG += v / n
		}
		meanGH += v * h[j] / n
	}
	return each(len(x), func(j int) float64 {
		term = max(term, rstd*max(math.Abs(g[j]), math.Abs(meanG), math.Abs(h[j]*meanGH)))
		return rstd * (g[j] - meanG - h[j]*meanGH)
	}), term
}
