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
	launch(d, "elementwise.copy", gridOf(to), threads, copyArgs{to, from})
}

type addArgs struct{ dst, a, b view }

func (d *device) Add(dst, a, b kernels.Mat) {
	y := d.active("Add", dst, dst.Rows, dst.Cols)
	launch(d, "elementwise.add", gridOf(y), threads,
		addArgs{y, d.active("Add", a, dst.Rows, dst.Cols), d.active("Add", b, dst.Rows, dst.Cols)})
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
