package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// logitsBytes is how much memory a chunk's logits may take, unless 128 rows need more.
const logitsBytes = 256 << 20

// logitsRows is how many rows have their logits, of each bytes, computed together.
func logitsRows(rows, vocab, each int) int { return min(rows, max(128, logitsBytes/(each*vocab)&^127)) }

// lossArgs is LossArgs of crossentropy_fast.cu: a chunk of logits X [Rows,V] becomes its
// gradient DX, and Loss [Rows]. X, DX and their rows are aligned to 16 bytes, row strides
// multiples of 8. Scale is the address of one F64, or 0 for the loss alone.
type lossArgs struct {
	X, DX, Target, Loss, Scale uint64
	Rows, V, XRow, DXRow       int32
	Softcap                    float32
	_                          int32
}

// crossEntropy returns the call for logits of type in (activations or F32) and gradients of
// type out (the same, or activations), which may take the same place if the types agree.
func crossEntropy(in, out kernels.DType, a lossArgs, c card) call {
	types := typeName(in) + "_" + typeName(out)
	role := "plain"
	if a.Softcap > 0 {
		role = "softcap"
	}
	k := call{
		kernel: "crossentropy_fast.crossentropy_" + role + "_" + types, threads: 1024,
		grid:   [3]int{int(a.Rows), 1, 1},
		shared: 32 * 8, args: argument(&a),
	}
	// On Hopper clusters read F32 rows once, which pays if they don't stay in L2 between two reads.
	const cluster, threads, each, enough = 8, 512, 4, 65536
	vectors := 8
	if a.V > cluster*threads*each*8 {
		vectors = 10
	}
	if !c.hopper || in != kernels.F32 || out == kernels.F32 || a.Softcap > 0 || a.V <= enough || int(a.V) > cluster*threads*each*vectors {
		return k
	}
	k.kernel = fmt.Sprintf("crossentropy_fast.crossentropy_cluster_%d_%s", vectors, types)
	k.grid[0], k.cluster, k.threads = cluster*int(a.Rows), cluster, threads
	k.shared = (32 + cluster) * 8
	return k
}
