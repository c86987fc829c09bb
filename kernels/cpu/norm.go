package cpu

import (
	"math"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) Add(dst, a, b kernels.Mat) {
	y := floats("Add", dst)
	x1, x2 := shaped("Add", a, y.rows, y.cols), shaped("Add", b, y.rows, y.cols)
	flatten(&y, &x1, &x2)
	d.eachRow(y.rows, y.cols, func(_ *scratch, i int) { d.v.add(y.row(i), x1.row(i), x2.row(i)) })
}

func (d *device) Norm(p kernels.Norm) {
	n := normArgs(p)
	d.norms(&n, func(int) {})
}

func (d *device) AddNorm(p kernels.AddNorm) {
	n := normArgs(p.Norm)
	a, b := shaped("AddNorm", p.A, n.x.rows, n.x.cols), shaped("AddNorm", p.B, n.x.rows, n.x.cols)
	d.norms(&n, func(i int) { d.v.add(n.x.row(i), a.row(i), b.row(i)) })
}

// norms normalises row after row, each of which prepare may first make.
func (d *device) norms(n *norm, prepare func(i int)) {
	x, y := n.x, shaped("Norm", n.Dst, n.x.rows, n.x.cols)
	weight, bias := d.normWeights(n)
	d.eachRow(x.rows, x.cols, func(_ *scratch, i int) {
		prepare(i)
		row, cols := x.row(i), float64(x.cols)
		var mean float32
		if n.LayerNorm {
			mean = float32(float64(d.v.sum(row)) / cols)
		}
		rstd := float32(1 / math.Sqrt(float64(d.v.sumSq(row, mean))/cols+float64(n.Eps)))
		if n.mean != nil {
			n.mean[i] = mean
		}
		if n.rstd != nil {
			n.rstd[i] = rstd
		}
		d.v.normalize(y.row(i), row, weight, bias, mean, rstd)
	})
}

func (d *device) NormGrad(p kernels.NormGrad) {
	n := normArgs(p.Norm)
	x := n.x
	dx, dy := shaped("NormGrad", p.DX, x.rows, x.cols), shaped("NormGrad", p.DY, x.rows, x.cols)
	weight, _ := d.normWeights(&n)
	_, zeros := d.constants(x.cols)
	d.eachRow(x.rows, x.cols, func(_ *scratch, i int) {
		row, to, grad, plus := x.row(i), dx.row(i), dy.row(i), zeros
		if p.Accumulate {
			plus = to
		}
		var mean float32
		if p.LayerNorm {
			mean = n.mean[i]
		}
		g, gh := d.v.normSums(row, weight, grad, mean, n.rstd[i])
		g, gh = g/float32(x.cols), gh/float32(x.cols)
		if !p.LayerNorm {
			g = 0
		}
		d.v.normGrad(to, plus, row, weight, grad, mean, n.rstd[i], g, gh)
	})
}

// normWeights returns what to multiply with and to add, as the loops want them,
// perhaps in the first worker's scratch, which the rows do without.
func (d *device) normWeights(n *norm) (weight, bias []float32) {
	ones, zeros := d.constants(n.x.cols)
	weight, bias = n.weight, n.bias
	if weight == nil {
		weight = ones
	} else if n.UnitOffset {
		weight = d.scratch[0].floats(n.x.cols)
		d.v.add(weight, n.weight, ones)
	}
	if bias == nil {
		bias = zeros
	}
	return weight, bias
}
