//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

type plainNormArgs struct {
	dst, x, dy                        view
	weight, bias, mean, rstd          driver.Pointer
	eps                               float32
	unitOffset, layerNorm, accumulate int32
}

func (d *device) normArgs(op string, p kernels.Norm) plainNormArgs {
	rows, cols := p.X.Rows, p.X.Cols
	return plainNormArgs{x: d.active(op, p.X, rows, cols),
		weight: flat(op, p.Weight, kernels.F32, cols), bias: flat(op, p.Bias, kernels.F32, cols),
		mean: flat(op, p.Mean, kernels.F32, rows), rstd: flat(op, p.Rstd, kernels.F32, rows),
		eps: p.Eps, unitOffset: bit(p.UnitOffset), layerNorm: bit(p.LayerNorm)}
}

// fastNorm returns the arguments in the form of norm_fast.cu, and reports whether that takes them. x is the sum of a
// and b if they are added first.
func (d *device) fastNorm(p plainNormArgs, a, b view) (normArgs, bool) {
	ok := true
	n := normArgs{Weight: uint64(p.weight), Bias: uint64(p.bias), Mean: uint64(p.mean), Rstd: uint64(p.rstd),
		Rows: p.x.rows, Cols: p.x.cols, Accumulate: p.accumulate, Eps: p.eps}
	if p.weight == 0 || p.unitOffset != 0 {
		n.Offset = 1
	}
	if a.data != 0 {
		n.X, n.XRow = a.row(&ok)
		n.Residual, n.ResidualRow = b.row(&ok)
		n.Sum, n.SumRow = p.x.row(&ok)
	} else {
		n.X, n.XRow = p.x.row(&ok)
	}
	if p.dy.data != 0 {
		n.DY, n.DYRow = p.dy.row(&ok)
		n.DX, n.DXRow = p.dst.row(&ok)
	} else {
		n.Y, n.YRow = p.dst.row(&ok)
	}
	// The plain kernel takes a LayerNorm without a place for the mean.
	return n, ok && n.Rows > 0 && (p.layerNorm == 0) == (p.mean == 0) && n.fast(d.activations)
}

func (d *device) Norm(p kernels.Norm) {
	a := d.normArgs("Norm", p)
	a.dst = d.active("Norm", p.Dst, p.X.Rows, p.X.Cols)
	if n, ok := d.fastNorm(a, view{}, view{}); ok {
		d.run(norm(d.activations, n))
		return
	}
	launch(d, "norm.normalize", rowGrid(p.X.Rows), threads, a)
}

func (d *device) AddNorm(p kernels.AddNorm) {
	const op = "AddNorm"
	rows, cols := p.X.Rows, p.X.Cols
	a := d.normArgs(op, p.Norm)
	a.dst = d.active(op, p.Dst, rows, cols)
	if n, ok := d.fastNorm(a, d.active(op, p.A, rows, cols), d.active(op, p.B, rows, cols)); ok {
		d.run(norm(d.activations, n))
		return
	}
	d.Add(p.X, p.A, p.B)
	launch(d, "norm.normalize", rowGrid(rows), threads, a)
}

func (d *device) NormGrad(p kernels.NormGrad) {
	a := d.normArgs("NormGrad", p.Norm)
	a.dst, a.dy = d.active("NormGrad", p.DX, p.X.Rows, p.X.Cols), d.active("NormGrad", p.DY, p.X.Rows, p.X.Cols)
	a.accumulate = bit(p.Accumulate)
	if n, ok := d.fastNorm(a, view{}, view{}); ok {
		d.run(normGrad(d.activations, n))
		return
	}
	launch(d, "norm.normalize_grad", rowGrid(p.X.Rows), threads, a)
}

// rowGrid is a block a row.
func rowGrid(rows int) [3]int { return [3]int{min(rows, 1<<20), 1, 1} }
