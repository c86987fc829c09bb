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

// lossArgs is LossArgs of crossentropy.cuh: a chunk of logits X [Rows,V] becomes its
// gradient DX, and Loss [Rows]. X, DX and their rows are aligned to 16 bytes, row strides
// multiples of 8. Scale is the address of one F64, or 0 for the loss alone.
type lossArgs struct {
	X, DX, Target, Loss, Scale uint64
	Rows, V, XRow, DXRow       int32
	Softcap                    float32
	_                          int32
}

// crossEntropy returns the call for logits and gradients of 16 bits, which may take the same place.
func crossEntropy(t kernels.DType, a lossArgs, c card) call {
	if blocks, shared := lossCluster(a, c); blocks > 0 {
		role := "once"
		if a.Softcap > 0 {
			role = "once_softcap"
		}
		return call{
			kernel: "crossentropy_hopper.crossentropy_" + role + "_" + typeName(t), threads: 512, cluster: blocks,
			grid:   [3]int{blocks * int(a.Rows), 1, 1},
			shared: shared, args: argument(&a),
		}
	}
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

// lossCluster is how many blocks hold a row in their shared memory, three on a multiprocessor, and how much each has of it;
// 0 where crossentropy_hopper.cu can't do that.
func lossCluster(a lossArgs, c card) (blocks, shared int) {
	const most = 227<<10/3&^1023 - 1<<10 // a block takes 1 KiB for itself
	for blocks = 1; c.hopper && blocks <= 8; blocks *= 2 {
		if shared = 64 + 16*ceilDiv(ceilDiv(int(a.V), 8), blocks) + 128; shared <= most {
			return blocks, shared
		}
	}
	return 0, 0
}
