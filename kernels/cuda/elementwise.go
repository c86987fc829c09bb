//go:build cuda && cgo && linux

package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

func (d *device) Zero(kb kernels.Buffer) {
	b := kb.(*buffer)
	if b.n > 0 && !d.failed() {
		d.fail(d.ctx.Zero(b.at, b.dtype.Bytes(b.n)))
	}
}

type copyArgs struct{ dst, src view }

func (d *device) Copy(dst, src kernels.Mat) {
	from := viewOf("Copy", src)
	to := shaped("Copy", dst, src.Rows, src.Cols)
	if to.typ == 3 {
		panic("cuda: Copy to NF4")
	}
	d.copyView(to, from)
}

func (d *device) copyView(to, from view) {
	if from.typ == typeOf(kernels.NF4) && to.typ != typeOf(kernels.F32) && to.rows > 0 && to.cols > 0 {
		a := dequantizeArgs{Dst: uint64(to.at(0, 0)), Codes: uint64(from.data), Scales: uint64(from.scales), First: from.off, SrcRow: from.stride,
			DstRow: int32(to.stride), Cols: to.cols}
		if to.stride <= widest && a.fast() {
			d.run(dequantize(d.types(to.typ), int(to.rows), a))
			return
		}
	}
	launch(d, "elementwise.copy", gridOf(to), threads, copyArgs{to, from})
}

type addArgs struct{ dst, a, b view }

func (d *device) Add(dst, a, b kernels.Mat) {
	active := func(m kernels.Mat) view { return d.active("Add", m, dst.Rows, dst.Cols) }
	d.add(active(dst), active(a), active(b))
}

func (d *device) add(dst, a, b view) {
	launch(d, "elementwise.add", gridOf(dst), threads, addArgs{dst, a, b})
}

// addBias is dst += bias, F32, on each row; nothing without a bias.
func (d *device) addBias(dst view, bias driver.Pointer) {
	if bias == 0 || dst.rows == 0 || dst.cols == 0 {
		return
	}
	if a := (biasArgs{Dst: uint64(dst.at(0, 0)), Bias: uint64(bias), Row: int32(dst.stride), Cols: dst.cols}); dst.stride <= widest && dst.typ != typeOf(kernels.F32) && a.fast(d.types(dst.typ)) {
		d.run(addBias(d.types(dst.typ), int(dst.rows), a))
		return
	}
	launch(d, "elementwise.add_bias", gridOf(dst), threads, addBiasArgs{dst, bias})
}

type addBiasArgs struct {
	dst  view
	bias driver.Pointer
}

type axpyArgs struct {
	y, x, alpha driver.Pointer
	n           int64
}

func (d *device) Axpy(y kernels.Buffer, alpha kernels.Scalar, x kernels.Buffer) {
	n := y.Len()
	if x.Len() != n {
		panic(fmt.Sprintf("cuda: Axpy of %d elements to %d", x.Len(), n))
	}
	launch(d, "elementwise.axpy", line(n), threads, axpyArgs{flat("Axpy", y, kernels.F32, n),
		flat("Axpy", x, kernels.F32, n), scalar("Axpy", alpha, kernels.F64), int64(n)})
}
