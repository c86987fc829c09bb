package cuda

import "github.com/shannon-control/scu/kernels"

// logitsBytes is how much memory a chunk's logits may take, unless 128 rows need more.
const logitsBytes = 256 << 20

// logitsRows is how many rows have their logits, of each bytes, computed together.
func logitsRows(rows, vocab, each int) int { return min(rows, max(128, logitsBytes/(each*vocab)&^127)) }

// holdsLogits reports whether a room can be taken for logits instead of scratch memory.
func holdsLogits(room kernels.Buffer, rows, cols int) bool {
	return room != nil && room.Len() >= rows*cols
}

// lossArgs is LossArgs of crossentropy_fast.cu: a chunk of logits X [Rows,V] becomes its
// gradient DX, and Loss [Rows]. X, DX and their rows are aligned to 16 bytes, row strides
// multiples of 8. Scale is the address of one F64, or 0 for the loss alone.
type lossArgs struct {
	X, DX, Target, Loss, Scale uint64
	Rows, V, XRow, DXRow       int32
	Softcap                    float32
	_                          int32
}

// crossEntropy returns the call for logits and gradients of 16 bits, which may take the same place.
func crossEntropy(t kernels.DType, a lossArgs) call {
	role := "plain"
	if a.Softcap > 0 {
		role = "softcap"
	}
	return call{
		kernel: "crossentropy_fast.crossentropy_" + role + "_" + typeName(t), threads: 1024,
		grid:   [3]int{int(a.Rows), 1, 1},
		shared: 32 * 8, args: argument(&a),
	}
}
