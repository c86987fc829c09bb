package cuda

import "github.com/shannon-control/scu/kernels"

// ropeArgs is RopeArgs of rope_fast.cu.
type ropeArgs struct {
	X, Cos, Sin, Positions                     uint64
	Rows, Len, Start, Heads, Half, XRow, XHead int32
	Sign                                       float32 // -1 rotates back
}

// fast reports whether rope_fast.cu takes the arguments: vectors of 16 bytes everywhere.
func (a *ropeArgs) fast(t kernels.DType) bool {
	return allMultiples(16, a.X, a.Cos, a.Sin) && allMultiples(vector(t), a.Half, a.XRow, a.XHead)
}

func rope(t kernels.DType, a ropeArgs) call {
	return call{
		kernel: "rope_fast.rope_" + typeName(t), threads: 256,
		grid: [3]int{ceilDiv(int(a.Rows)*int(a.Heads*a.Half/vector(t)), 256), 1, 1}, args: argument(&a),
	}
}
