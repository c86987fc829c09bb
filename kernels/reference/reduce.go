package reference

import "github.com/shannon-control/scu/kernels"

func (d *device) Sum(dst kernels.Scalar, src kernels.Buffer, add bool) {
	var sum float64
	for _, v := range flat("Sum", src) {
		sum += v
	}
	to := number("Sum", dst)
	if add {
		sum += *to
	}
	*to = sum
}

func (d *device) SumSquares(dst kernels.Scalar, src kernels.Buffer) {
	x := flat("SumSquares", src)
	*number("SumSquares", dst) = dot(x, x)
}
