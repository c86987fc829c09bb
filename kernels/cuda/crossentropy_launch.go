package cuda

import "github.com/shannon-control/scu/kernels"

// How much memory a chunk's logits may take, unless 128 rows need more: of a room that an operation is lent, and of
// scratch memory, where they would be most of it.
const (
	lentLogits    = 256 << 20
	scratchLogits = 128 << 20
)

// logitsRows is how many rows have their logits, of each bytes, computed together, their stride, for vectors, and
// whether they lie in the room.
func logitsRows(room kernels.Buffer, rows, vocab, each int) (chunk, stride int, lent bool) {
	most := func(bytes int) int { return min(rows, max(128, bytes/(each*vocab)&^127)) }
	stride = (vocab + 7) &^ 7
	if chunk = most(lentLogits); room != nil && room.Len() >= chunk*stride {
		return chunk, stride, true
	}
	return most(scratchLogits), stride, false
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
