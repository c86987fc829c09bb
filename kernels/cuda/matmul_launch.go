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
	name := "nf4"
	if b != kernels.NF4 {
		name = typeName(b)
	}
	return call{
		kernel: fmt.Sprintf("matmul_mma.matmul_%s%s_%s_%s", stored(ta), stored(tb), typeName(t), name), threads: 256,
		grid:   [3]int{ceilDiv(int(a.M), 128) * ceilDiv(int(a.N), 128), 1, 1},
		shared: 4*2*128*32*2 + 64, args: argument(&a),
	}
}

// stored names in kernels how an operand is stored.
func stored(transposed bool) string {
	if transposed {
		return "t"
	}
	return "n"
}

// hopperMatMulArgs is HopperMatMulArgs of matmul_hopper.cu, with the tensor maps of A, B and Dst.
type hopperMatMulArgs struct {
	Dst, Bias               uint64
	M, N, K, DstRow, DstF32 int32
	Alpha, Beta             float32
	_                       [5]int32
	Maps                    [3][16]uint64
}

const hopperMatMulMaps = 64

// matmulOnHopper reports whether matmul_hopper.cu takes the product: no conversion, rows that the copy engine can
// reach, and enough of them to fill its large tiles.
func matmulOnHopper(t, b kernels.DType, a matmulArgs, c card) bool {
	return c.hopper && (t == kernels.BF16 || t == kernels.F16) && b == t && a.K > 0 && a.M > 128 && a.N > 128 &&
		allMultiples(16, a.A, a.B, a.Dst) && allMultiples(8, a.ARow, a.BRow, a.DstRow)
}

// hopperMatMul is matmul by matmul_hopper.cu.
func hopperMatMul(t kernels.DType, ta, tb bool, a matmulArgs, c card) call {
	all := hopperMatMulArgs{Dst: a.Dst, Bias: a.Bias, M: a.M, N: a.N, K: a.K, DstRow: a.DstRow, DstF32: a.DstF32, Alpha: a.Alpha, Beta: a.Beta}
	matrix := func(i int, address uint64, rows, columns, row int32, box int) tensorMap {
		return tensorMap{
			at: hopperMatMulMaps + 128*i, address: address,
			dims:    [4]uint64{uint64(columns), 1, uint64(rows), 1},
			strides: [3]uint64{2 * uint64(row), 2 * uint64(row), 2 * uint64(row) * uint64(rows)},
			box:     [4]uint32{64, 1, uint32(box), 1},
		}
	}
	operand := func(i int, address uint64, rows, columns, row int32, alongK bool, box int) tensorMap {
		if alongK {
			return matrix(i, address, columns, rows, row, 64)
		}
		return matrix(i, address, rows, columns, row, box)
	}
	const rows, step = 128, 64
	tiles := func(columns int) int { return ceilDiv(int(a.M), 2*rows) * ceilDiv(int(a.N), columns) }
	pairs, columns, stages := max(c.multiprocessors/2, 1), 256, 4
	if 5*ceilDiv(tiles(128), pairs) < 8*ceilDiv(tiles(256), pairs) { // half as wide ones take 0.62 of the time
		columns, stages = 128, 6
	}
	maps := []tensorMap{operand(0, a.A, a.M, a.K, a.ARow, ta, rows), operand(1, a.B, a.N, a.K, a.BRow, !tb, columns/2)}
	if a.DstF32 == 0 {
		maps = append(maps, matrix(2, a.Dst, a.M, a.N, a.DstRow, 64))
	}
	return call{
		kernel: fmt.Sprintf("matmul_hopper.matmul_%s%s_%d_%s", stored(ta), stored(tb), columns, typeName(t)), threads: 384, cluster: 2,
		grid:   [3]int{2 * min(tiles(columns), pairs), 1, 1},
		shared: stages*(rows+columns)*step*2 + rows*columns + 16*stages,
		args:   argument(&all), maps: maps,
	}
}
