package cpu

import "github.com/shannon-control/scu/kernels"

// MatMul is gemm on checked matrices.
func (d *device) MatMul(p kernels.MatMul) {
	m, n, k := p.Sizes("cpu")
	a, b, c := floats("MatMul", p.A), matrix("MatMul", p.B), shaped("MatMul", p.Dst, m, n)
	d.pool.gemm(gemmArgs{m: m, n: n, k: k,
		a: a.f32[a.off:], lda: a.stride, transA: p.TransA,
		b: *b.operand(), off: b.off, ldb: b.stride, transB: p.TransB,
		c: c.f32[c.off:], ldc: c.stride,
		alpha: p.Alpha, beta: p.Beta, bias: vector("MatMul", p.Bias, n)})
}
