package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// normArgs is NormArgs of norm_fast.cu. Forward: Sum = X + Residual, Y = norm(Sum), or Y =
// norm(X) without Residual; backward: DX from X (the sum) and DY. Mean 0 is RMSNorm.
type normArgs struct {
	X, Residual, DY                               uint64
	Sum, Y, DX                                    uint64
	Weight, Bias, Mean, Rstd                      uint64
	XRow, ResidualRow, DYRow, SumRow, YRow, DXRow int32
	Rows, Cols, Accumulate                        int32
	Eps                                           float32
	Offset                                        float32 // rows are scaled by Weight + Offset: 1 without Weight, or with UnitOffset
	_                                             int32
}

// fast reports whether the kernels here take the arguments: vectors of 16 bytes everywhere, and
// rows that fit in a block's registers.
func (a *normArgs) fast(t kernels.DType) bool {
	n := vector(t)
	return allMultiples(16, a.X, a.Residual, a.DY, a.Sum, a.Y, a.DX, a.Weight, a.Bias) &&
		allMultiples(n, a.XRow, a.ResidualRow, a.DYRow, a.SumRow, a.YRow, a.DXRow, a.Cols) && a.Cols <= 2*1024*n
}

// norm returns the call of the forward pass, normGrad that of the backward pass.
func norm(t kernels.DType, a normArgs) call     { return normCall("", t, a) }
func normGrad(t kernels.DType, a normArgs) call { return normCall("_grad", t, a) }

func normCall(pass string, t kernels.DType, a normArgs) call {
	vectors := int(a.Cols / vector(t))
	threads := func(each int) int { // one warp, or a multiple of four
		if n := ceilDiv(vectors, each); n > 32 {
			return ceilDiv(n, 128) * 128
		}
		return 32
	}
	kind, each := "rms", 1
	if a.Mean != 0 {
		kind = "layer"
	}
	if vectors > 256 {
		each = 2
	}
	return call{
		kernel: fmt.Sprintf("norm_fast.%s%s_%d_%s", kind, pass, each, typeName(t)), threads: threads(each),
		grid:   [3]int{int(a.Rows), 1, 1},
		shared: 2 * 32 * 4, args: argument(&a),
	}
}

// vector is how many elements 16 bytes hold.
func vector(t kernels.DType) int32 { return int32(16 / t.Bytes(1)) }

// warps rounds a number of threads up to whole warps.
func warps(threads int) int { return ceilDiv(threads, 32) * 32 }

func allMultiples[T uint64 | int64 | int32](of T, values ...T) bool {
	for _, v := range values {
		if v%of != 0 {
			return false
		}
	}
	return true
}
