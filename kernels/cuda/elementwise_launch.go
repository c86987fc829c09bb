package cuda

import "github.com/shannon-control/scu/kernels"

// biasArgs is BiasArgs of elementwise_fast.cu.
type biasArgs struct {
	Dst, Bias uint64
	Row, Cols int32
}

func (a *biasArgs) fast(t kernels.DType) bool {
	return t != kernels.F32 && allMultiples(16, a.Dst, a.Bias) && allMultiples(vector(t), a.Row, a.Cols)
}

// addBias returns the call of dst += bias on each of so many rows.
func addBias(t kernels.DType, rows int, a biasArgs) call {
	return call{kernel: "elementwise_fast.add_bias_" + typeName(t), threads: 256, grid: vectorGrid(rows, int(a.Cols)), args: argument(&a)}
}

// dequantizeArgs is DequantizeArgs.
type dequantizeArgs struct {
	Dst, Codes, Scales uint64
	First, SrcRow      int64
	DstRow, Cols       int32
}

func (a *dequantizeArgs) fast() bool {
	return allMultiples(16, a.Dst, a.Codes) && allMultiples(8, a.First, a.SrcRow) && allMultiples(8, a.DstRow, a.Cols)
}

// dequantize returns the call of dst = the NF4 matrix, of so many rows.
func dequantize(t kernels.DType, rows int, a dequantizeArgs) call {
	return call{kernel: "elementwise_fast.dequantize_" + typeName(t), threads: 256, grid: vectorGrid(rows, int(a.Cols)), args: argument(&a)}
}

// vectorGrid is blocks of 256 threads with a vector of 8 each, over rows.
func vectorGrid(rows, cols int) [3]int { return [3]int{rows, ceilDiv(cols, 8*256), 1} }
