package cuda

import "github.com/shannon-control/scu/kernels"

// gateArgs is GateArgs of gate_fast.cu.
type gateArgs struct {
	Gate, Up, DY                                  uint64
	Y, DGate, DUp                                 uint64
	GateRow, UpRow, DYRow, YRow, DGateRow, DUpRow int32
	Cols                                          int32
	Activation                                    int32 // a kernels.Activation
}

// fast reports whether gate_fast.cu takes the arguments: vectors of 16 bytes everywhere.
func (a *gateArgs) fast(t kernels.DType) bool {
	return allMultiples(16, a.Gate, a.Up, a.DY, a.Y, a.DGate, a.DUp) &&
		allMultiples(vector(t), a.GateRow, a.UpRow, a.DYRow, a.YRow, a.DGateRow, a.DUpRow, a.Cols)
}

// gate returns the call of the kernel what: gate, gate_grad, activate or activate_grad.
func gate(what string, t kernels.DType, rows int, a gateArgs) call {
	vectors := int(a.Cols / vector(t))
	threads := min(256, warps(vectors))
	return call{
		kernel: "gate_fast." + what + "_" + typeName(t), threads: threads,
		grid: [3]int{rows, ceilDiv(vectors, threads), 1}, args: argument(&a),
	}
}
