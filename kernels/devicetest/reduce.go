package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

// flatSizes are lengths of flat buffers, up to several blocks of a reduction.
var flatSizes = []int{1, 3, 16, 17, 255, 4097, 100_003}

func sums(e *env) {
	for _, n := range flatSizes {
		x := e.normal(n)
		b := e.vector(x)
		dst := e.alloc(kernels.F64, 3)
		var sum, absolute, squares float64
		for _, v := range x {
			sum, absolute, squares = sum+v, absolute+math.Abs(v), squares+v*v
		}
		e.d.Sum(kernels.Scalar{Buf: dst}, b, false)
		e.d.SumSquares(kernels.Scalar{Buf: dst, I: 2}, b)
		got := e.values(dst)
		// The sums are F64: only their order differs.
		e.checkF64(fmt.Sprintf("Sum of %d", n), got[:1], []float64{sum}, absolute, 1e-14)
		e.checkF64(fmt.Sprintf("SumSquares of %d", n), got[2:], []float64{squares}, 0, 1e-13)
		e.checkExact("the element between", got[1:2], []float64{0})
		e.d.Sum(kernels.Scalar{Buf: dst}, b, true)
		e.checkF64(fmt.Sprintf("Sum of %d, added", n), e.values(dst)[:1], []float64{2 * sum}, absolute, 1e-14)
	}
}
