package cpu

// Moving, adding and widening of matrices.

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

func (d *device) Add(dst, a, b kernels.Mat) {
	y := floats("Add", dst)
	x1, x2 := shaped("Add", a, y.rows, y.cols), shaped("Add", b, y.rows, y.cols)
	flatten(&y, &x1, &x2)
	d.eachRow(y.rows, y.cols, func(_ *scratch, i int) { d.v.add(y.row(i), x1.row(i), x2.row(i)) })
}

func (d *device) Scale(dst, src kernels.Mat, alpha float32) {
	y := floats("Scale", dst)
	x := shaped("Scale", src, y.rows, y.cols)
	flatten(&y, &x)
	d.eachRow(y.rows, y.cols, func(_ *scratch, i int) { d.v.scale(y.row(i), x.row(i), alpha) })
}

func (d *device) Axpy(y kernels.Buffer, alpha float64, x kernels.Buffer) {
	dst := flat("Axpy", y)
	src := vector("Axpy", x, len(dst))
	d.pool.run(len(dst), 2*block, func(lo, hi int) { d.v.axpy(dst[lo:hi], src[lo:hi], float32(alpha)) })
}

func (d *device) Embed(dst, table kernels.Mat, ids kernels.Buffer, scale float32, add bool) {
	y, t := floats("Embed", dst), matrix("Embed", table)
	t.want("Embed", t.rows, y.cols)
	rows := integers("Embed", ids, y.rows)
	for i, id := range rows {
		if id < 0 || int(id) >= t.rows {
			panic(fmt.Sprintf("cpu: Embed: id %d at row %d of a table of %d", id, i, t.rows))
		}
	}
	simd, from := &simds[d.level], t.operand()
	d.eachRow(y.rows, y.cols, func(s *scratch, i int) {
		at, to := t.off+int(rows[i])*t.stride, y.row(i)
		if !add {
			simd.widen(to, from, at)
			d.v.scale(to, to, scale)
			return
		}
		for j := 0; j < len(to); j += block {
			wide := s.a[:min(block, len(to)-j)]
			simd.widen(wide, from, at+j)
			d.v.axpy(to[j:j+len(wide)], wide, scale)
		}
	})
}

func (d *device) Dropout(dst, src kernels.Mat, p float32, key uint64, add bool) {
	y := floats("Dropout", dst)
	x := shaped("Dropout", src, y.rows, y.cols)
	mask := kernels.NewDropoutMask(p, key)
	drop := d.v.dropout
	if add {
		drop = d.v.dropoutAdd
	}
	flatten(&y, &x)
	d.eachRow(y.rows, y.cols, func(s *scratch, i int) {
		to, from := y.row(i), x.row(i)
		for j := 0; j < len(to); j += block {
			n := min(block, len(to)-j)
			element := i*y.cols + j
			skip := element % 8
			d.v.random(s.random[:ceilDiv(skip+n, 64)*64], key, uint64(element/8))
			drop(to[j:j+n], from[j:], s.random[skip:], int32(mask.Threshold), mask.Scale)
		}
	})
}
