//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

type sumArgs struct {
	src, parts, dst        driver.Pointer
	n                      int64
	count, squares, add, _ int32
}

func (d *device) Sum(dst kernels.Scalar, src kernels.Buffer, add bool) { d.sum(dst, src, false, add) }

func (d *device) SumSquares(dst kernels.Scalar, src kernels.Buffer) { d.sum(dst, src, true, false) }

func (d *device) sum(dst kernels.Scalar, src kernels.Buffer, squares, add bool) {
	n := src.Len()
	parts := min(max(1, ceilDiv(n, 16*threads)), 1024) // by the length alone: so the order is
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)
	a := sumArgs{src: flat("Sum", src, kernels.F32, n), parts: d.scratch.take(d, 8*parts), dst: scalar("Sum", dst, kernels.F64),
		n: int64(n), count: int32(parts), squares: bit(squares), add: bit(add)}
	launch(d, "reduce.sum_parts", [3]int{parts, 1, 1}, threads, a)
	launch(d, "reduce.sum_total", [3]int{1, 1, 1}, threads, a)
}
