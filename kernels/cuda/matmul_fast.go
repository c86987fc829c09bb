//go:build cuda && cgo && linux

package cuda

import "github.com/shannon-control/scu/kernels"

// tiledProduct tries matmul_hopper.cu and matmul_mma.cu: activations of 16 bits by a B of any type, which needs no conversion.
func (d *device) tiledProduct(g product) bool {
	if d.activations == kernels.F32 || g.a.typ != typeOf(d.activations) {
		return false
	}
	fits := true
	a := matmulArgs{Bias: uint64(g.bias), M: g.dst.rows, N: g.dst.cols, K: int32(g.depth()), Alpha: g.alpha, Beta: g.beta, DstF32: bit(g.dst.typ == typeOf(kernels.F32))}
	a.A, a.ARow = g.a.row(&fits)
	a.Dst, a.DstRow = g.dst.row(&fits)
	if b := d.types(g.b.typ); b == kernels.NF4 {
		a.B, a.Absmax, a.BFirst, a.BRow = uint64(g.b.data), uint64(g.b.scales), g.b.off, int32(g.b.stride)
		fits = fits && g.b.stride <= widest
	} else {
		a.B, a.BRow = g.b.row(&fits)
	}
	if fits && matmulOnHopper(d.activations, d.types(g.b.typ), a, d.card()) {
		d.run(hopperMatMul(d.activations, g.transA, g.transB, a, d.card()))
		return true
	}
	if !fits || !matmulTiled(d.activations, d.types(g.b.typ), g.transA, g.transB, a) {
		return false
	}
	d.run(matmul(d.activations, d.types(g.b.typ), g.transA, g.transB, a))
	return true
}
