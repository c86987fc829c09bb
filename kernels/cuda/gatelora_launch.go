package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// gateLoRAArgs is GateLoRAArgs of gatelora_fast.cu.
type gateLoRAArgs struct {
	Gate, Up, DX                                  uint64
	X, DGate, DUp                                 uint64
	Mask, Part, PartB                             uint64
	W, U                                          [3]uint64
	GateRow, UpRow, DXRow, XRow, DGateRow, DUpRow int32
	WRow, URow, Rank                              [3]int32
	M, N, Rows                                    int32
}

// gateLoRA is a gated layer's activation with the adapters beside it, of 16-bit matrices [M,N]. Everything is aligned to 16
// bytes, row strides are multiples of 8, and ranks 8 or 16; N is a multiple of 8, or of 64 with a mask.
type gateLoRA struct {
	T          kernels.DType
	Activation kernels.Activation
	gateLoRAArgs
}

// gatesWithLoRA are the activations that the kernels are made for.
var gatesWithLoRA = map[kernels.Activation]string{kernels.SiLU: "silu", kernels.GELUTanh: "gelu_tanh"}

const ofGate, ofUp, ofDown = 0, 1, 2

// like is a thin product's matrices of the same size, whose blocks are as many.
func (l gateLoRA) like(groups int) lora {
	return lora{M: int(l.M), N: int(l.N), Groups: make([]loraGroup, groups)}
}

// parts returns how many F32 elements Part holds for down, and Part and PartB for both.
func (l gateLoRA) parts(c card) (down, both, bothB int) {
	across := ceilDiv(int(l.N), 512)
	return across * int(l.M) * 16, across * int(l.M) * 32, ceilDiv(int(l.M), l.like(2).rows(c, 1)) * int(l.N) * 48
}

// down makes X = act(Gate) Up, and u = mask(X) W^T in u once its sums are made.
func (l gateLoRA) down(c card, u loraGroup) (call, []loraSum) {
	l.Rows = int32(l.like(1).rows(c, 2))
	sum := loraSum{Part: l.Part, Rows: l.M, Width: 16, Parts: int32(ceilDiv(int(l.N), 512)), Kind: sumStore}
	return l.call("down", 2, 16), []loraSum{sum.into(u)}
}

// both makes DGate and DUp and, once its sums are made, du = Scale DGate W and DUp W in du, db += Scale DGate^T U and
// DUp^T U in db, and da += Scale U^T mask(X), [rank,N], in da.
func (l gateLoRA) both(c card, du, db [2]loraGroup, da loraGroup) (call, []loraSum) {
	l.Rows = int32(l.like(2).rows(c, 1))
	var sums []loraSum
	b := loraSum{Part: l.PartB, Rows: l.N, Width: 48, Parts: int32(ceilDiv(int(l.M), int(l.Rows))), Kind: sumAdd}
	for of := range du {
		u := loraSum{Part: l.Part, Rows: l.M, Width: 32, First: int32(16 * of), Parts: int32(ceilDiv(int(l.N), 512)), Kind: sumStore}
		b.First = int32(16 * of)
		sums = append(sums, u.into(du[of]), b.into(db[of]))
	}
	b.First, b.Kind = 32, sumAddTransposed
	return l.call("both", 3, 32), append(sums, b.into(da))
}

// into is the sum with a group's U as its place.
func (s loraSum) into(g loraGroup) loraSum {
	s.Out, s.OutRow, s.Also, s.AlsoRow, s.Rank, s.Scale, s.Offset = g.U, g.URow, g.Also, g.AlsoRow, g.Rank, g.Scale, 1
	return s
}

func (l gateLoRA) call(name string, tiles, ranks int) call {
	const warps, step, stages = 8, 16, 2
	shared := stages*warps*tiles*step*128 + 2*warps*step*ranks*4
	if tiles == 3 {
		shared += stages * 3 * step * 32 // U
	}
	if l.Mask != 0 {
		name += "_masked"
	}
	return call{
		kernel: fmt.Sprintf("gatelora_fast.gate_%s_%s_%s", name, gatesWithLoRA[l.Activation], typeName(l.T)), threads: 32 * warps,
		grid:   [3]int{ceilDiv(int(l.N), 512), ceilDiv(int(l.M), int(l.Rows)), 1},
		shared: shared, args: argument(&l.gateLoRAArgs),
	}
}
