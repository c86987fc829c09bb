package cpu

// Zeroing, copying and widening of matrices.

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) Zero(kb kernels.Buffer) {
	b := kb.(*buffer)
	d.pool.run(b.n, 16*block, func(lo, hi int) {
		switch b.dtype {
		case kernels.F32:
			clear(b.f32[lo:hi])
		case kernels.F64:
			clear(b.f64[lo:hi])
		case kernels.U64:
			clear(b.u64[lo:hi])
		case kernels.I32:
			clear(b.i32[lo:hi])
		case kernels.BF16, kernels.F16:
			clear(b.u16[lo:hi])
		default:
			panic("cpu: Zero of an NF4 buffer")
		}
	})
}

func (d *device) Copy(dst, src kernels.Mat) {
	to, from := matrix("Copy", dst), matrix("Copy", src)
	to.want("Copy", from.rows, from.cols)
	simd := &simds[d.level]
	d.eachRow(from.rows, from.cols, func(s *scratch, i int) {
		at := from.off + i*from.stride
		if to.dtype == kernels.F32 {
			simd.widen(to.row(i), from.operand(), at)
			return
		}
		for j := 0; j < from.cols; j += block {
			wide := s.a[:min(block, from.cols-j)]
			simd.widen(wide, from.operand(), at+j)
			to.narrow(to.off+i*to.stride+j, wide)
		}
	})
}

// operand is the matrix's buffer as matrix products read it.
func (m mat) operand() *operand {
	switch m.dtype {
	case kernels.F32:
		return &operand{f32: m.f32}
	case kernels.BF16:
		return &operand{bf16: m.u16}
	case kernels.F16:
		return &operand{f16: m.u16}
	case kernels.NF4:
		return &operand{nf4: m.nf4.Packed, absmax: m.nf4.Absmax}
	}
	panic(fmt.Sprintf("cpu: a matrix of %v", m.dtype))
}
