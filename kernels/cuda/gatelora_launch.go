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

// gateLoRA is a feed-forward layer's activation with the adapters beside it, of 16-bit matrices [M,N]; without Up it isn't
// gated. Everything is aligned to 16 bytes, row strides are multiples of 8, and ranks 8 or 16; N is a multiple of 8, or of
// 64 with a mask.
type gateLoRA struct {
	T          kernels.DType
	Activation kernels.Activation
	gateLoRAArgs
}

// The activations that the kernels are made for, with a gate and without.
var (
	gatesWithLoRA       = map[kernels.Activation]string{kernels.SiLU: "silu", kernels.GELUTanh: "gelu_tanh"}
	activationsWithLoRA = map[kernels.Activation]string{kernels.GELUTanh: "gelu_tanh"}
)

const ofGate, ofUp, ofDown = 0, 1, 2

// named is the activation in a kernel's name; "" if there is none for it.
func (l gateLoRA) named() string {
	if l.Up == 0 {
		return activationsWithLoRA[l.Activation]
	}
	return gatesWithLoRA[l.Activation]
}

// made is how many layers' results come in: gate's, and up's.
func (l gateLoRA) made() int {
	if l.Up == 0 {
		return 1
	}
	return 2
}

// downRows and bothRows are how many rows a block takes, as the kernels' launch bounds have so many blocks on a
// multiprocessor.
func (l gateLoRA) downRows(c card) int { return l.like().rows(c, 4-l.made()) }
func (l gateLoRA) bothRows(c card) int { return l.like().rows(c, 3-l.made()) }

// like is a thin product's matrices of the same size, whose blocks are as many.
func (l gateLoRA) like() lora { return lora{M: int(l.M), N: int(l.N)} }

// parts returns how many F32 elements Part holds for down, and Part and PartB for both.
func (l gateLoRA) parts(c card) (down, both, bothB int) {
	across, made := ceilDiv(int(l.N), 512), l.made()
	return across * int(l.M) * 16, across * int(l.M) * 16 * made, ceilDiv(int(l.M), l.bothRows(c)) * int(l.N) * 16 * (made + 1)
}

// down makes X = act(Gate) Up, and u = mask(X) W^T in u once its sums are made.
func (l gateLoRA) down(c card, u loraGroup) (call, []loraSum) {
	l.Rows = int32(l.downRows(c))
	sum := loraSum{Part: l.Part, Rows: l.M, Width: 16, Parts: int32(ceilDiv(int(l.N), 512)), Kind: sumStore}
	return l.call("down", l.made(), 16), []loraSum{sum.into(u)}
}

// both makes DGate and DUp and, once its sums are made, du = Scale DGate W and DUp W in du, db += Scale DGate^T U and
// DUp^T U in db, and da += Scale U^T mask(X), [rank,N], in da.
func (l gateLoRA) both(c card, du, db []loraGroup, da loraGroup) (call, []loraSum) {
	l.Rows = int32(l.bothRows(c))
	made := l.made()
	var sums []loraSum
	b := loraSum{Part: l.PartB, Rows: l.N, Width: int32(16 * (made + 1)), Parts: int32(ceilDiv(int(l.M), int(l.Rows))), Kind: sumAdd}
	for of := range made {
		u := loraSum{Part: l.Part, Rows: l.M, Width: int32(16 * made), First: int32(16 * of), Parts: int32(ceilDiv(int(l.N), 512)), Kind: sumStore}
		b.First = int32(16 * of)
		sums = append(sums, u.into(du[of]), b.into(db[of]))
	}
	b.First, b.Kind = int32(16*made), sumAddTransposed
	return l.call("both", made+1, 16*made), append(sums, b.into(da))
}

// into is the sum with a group's U as its place.
func (s loraSum) into(g loraGroup) loraSum {
	s.Out, s.OutRow, s.Also, s.AlsoRow, s.Rank, s.Scale, s.Offset = g.U, g.URow, g.Also, g.AlsoRow, g.Rank, g.Scale, 1
	return s
}

func (l gateLoRA) call(name string, tiles, ranks int) call {
	const warps, step, stages = 8, 16, 2
	shared := stages*warps*tiles*step*128 + 2*warps*step*ranks*4
	if name == "both" {
		shared += stages * tiles * step * 32 // U
	}
	if l.Mask != 0 {
		name += "_masked"
	}
	kind := "gate"
	if l.Up == 0 {
		kind = "act"
	}
	return call{
		kernel: fmt.Sprintf("gatelora_fast.%s_%s_%s_%s", kind, name, l.named(), typeName(l.T)), threads: 32 * warps,
		grid:   [3]int{ceilDiv(int(l.N), 512), ceilDiv(int(l.M), int(l.Rows)), 1},
		shared: shared, args: argument(&l.gateLoRAArgs),
	}
}
