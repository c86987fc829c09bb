package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// matmulArgs is MatMulArgs of matmul_mma.cu.
type matmulArgs struct {
	A, B, Absmax, Dst, Bias uint64
	BFirst                  int64 // NF4: the matrix begins at this element of B
	M, N, K                 int32
	ARow, BRow, DstRow      int32
	DstF32                  int32 // 1: Dst is F32, else of the activations' type
	Alpha, Beta             float32
	_                       int32
}

// matmulTiled reports whether matmul_mma.cu takes a product of activations of type t and B of
// type b: nothing read past a matrix's end in vectors of 8, a transposed A against activations alone.
func matmulTiled(t, b kernels.DType, ta, tb bool, a matmulArgs) bool {
	aColumns, bColumns := a.K, a.N
	if ta {
		aColumns = a.M
	}
	if tb {
		bColumns = a.K
	}
	aligned := allMultiples(16, a.A, a.B)
	if b == kernels.NF4 {
		aligned = allMultiples(16, a.A) && allMultiples(4, a.B) && a.BFirst%8 == 0
	}
	return (t == kernels.BF16 || t == kernels.F16) && (!ta || b == t) && aligned && allMultiples(8, aColumns, bColumns, a.ARow, a.BRow)
}

// matmul returns the call of Dst = Alpha op(A) op(B) + Beta Dst + Bias.
func matmul(t, b kernels.DType, ta, tb bool, a matmulArgs) call {
	letter := func(transposed bool) string {
		if transposed {
			return "t"
		}
		return "n"
	}
	name := "nf4"
	if b != kernels.NF4 {
		name = typeName(b)
	}
	return call{
		kernel: fmt.Sprintf("matmul_mma.matmul_%s%s_%s_%s", letter(ta), letter(tb), typeName(t), name), threads: 256,
		grid:   [3]int{ceilDiv(int(a.M), 128) * ceilDiv(int(a.N), 128), 1, 1},
		shared: 4*2*128*32*2 + 64, args: argument(&a),
	}
}
