package reference

import (
	"math"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) Add(dst, a, b kernels.Mat) {
	y := d.acts("Add", dst)
	x1, x2 := d.acts("Add", a).want("Add", y.rows, y.cols), d.acts("Add", b).want("Add", y.rows, y.cols)
	y.fill(func(i, j int) float64 { return x1.row(i)[j] + x2.row(i)[j] })
}

// norm is a kernels.Norm with its arguments checked, but for Dst.
type norm struct {
	kernels.Norm
	x                        mat
	weight, bias, mean, rstd []float64
}

func (d *device) norm(p kernels.Norm) norm {
	const op = "Norm"
	x := d.acts(op, p.X)
	return norm{p, x, vector(op, p.Weight, x.cols), vector(op, p.Bias, x.cols), vector(op, p.Mean, x.rows), vector(op, p.Rstd, x.rows)}
}

func (d *device) Norm(p kernels.Norm) {
	n := d.norm(p)
	y := d.acts("Norm", p.Dst).want("Norm", n.x.rows, n.x.cols)
	for i := range n.x.rows {
		mean, rstd := n.moments(i)
		if n.mean != nil {
			n.mean[i] = round(kernels.F32, mean)
		}
		if n.rstd != nil {
			n.rstd[i] = round(kernels.F32, rstd)
		}
		for j, v := range n.x.row(i) {
			y.set(i, j, (v-mean)*rstd*n.scale(j)+n.shift(j))
		}
	}
}

func (d *device) AddNorm(p kernels.AddNorm) {
	d.Add(p.X, p.A, p.B)
	d.Norm(p.Norm)
}

func (d *device) NormGrad(p kernels.NormGrad) {
	n := d.norm(p.Norm)
	x := n.x
	dx, dy := d.acts("NormGrad", p.DX).want("NormGrad", x.rows, x.cols), d.acts("NormGrad", p.DY).want("NormGrad", x.rows, x.cols)
	for i := range x.rows {
		mean, rstd := 0.0, n.rstd[i]
		if p.LayerNorm {
			mean = n.mean[i]
		}
		// With h = (x - mean) rstd and g = w dy: dx = rstd (g - mean(g) - h mean(g h)),
		// without mean(g) for RMSNorm.
		var g, gh float64
		for j, v := range x.row(i) {
			wdy := n.scale(j) * dy.row(i)[j]
			g += wdy
			gh += wdy * (v - mean) * rstd
		}
		g, gh = g/float64(x.cols), gh/float64(x.cols)
		if !p.LayerNorm {
			g = 0
		}
		for j, v := range x.row(i) {
			grad := rstd * (n.scale(j)*dy.row(i)[j] - g - (v-mean)*rstd*gh)
			if p.Accumulate {
				grad += dx.row(i)[j]
			}
			dx.set(i, j, grad)
		}
	}
}

// moments of row i: the mean (0 for RMSNorm) and 1/sqrt(variance + Eps).
func (n *norm) moments(i int) (mean, rstd float64) {
	row := n.x.row(i)
	if n.LayerNorm {
		for _, v := range row {
			mean += v
		}
		mean /= float64(len(row))
	}
	var squares float64
	for _, v := range row {
		squares += (v - mean) * (v - mean)
	}
	return mean, 1 / math.Sqrt(squares/float64(len(row))+float64(n.Eps))
}

func (n *norm) scale(j int) float64 {
	switch {
	case n.weight == nil:
		return 1
	case n.UnitOffset:
		return 1 + n.weight[j]
	}
	return n.weight[j]
}

func (n *norm) shift(j int) float64 {
	if n.bias == nil {
		return 0
	}
	return n.bias[j]
}
