package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// loraGroup is a layer's share of one of lora_fast.cu's calls, or 16 of its ranks: Rank is 8 or 16.
// W is A [rank,in] or B [out,rank], F32, with WRow elements a row; U [rows,rank] is u or du. Those
// are aligned to 16 bytes, their strides multiples of 8. Also is a second place for what is made, or 0.
type loraGroup struct {
	W, U, Also uint64
	WRow, URow int32
	AlsoRow    int32
	Rank       int32
	Scale      float32
}

// maxGroups is the most groups that go together in one call: 64 ranks.
const maxGroups = 4

// groups returns how many groups a card's shared memory has room for in down, tall and both (which takes
// two at most).
func (c card) groups() int {
	if c.little {
		return 1
	}
	return maxGroups
}

// loraArgs is LoRAArgs of lora_fast.cu.
type loraArgs struct {
	X, Dst, Mask, Part, PartB         uint64
	W, U                              [maxGroups]uint64
	URow, WRow, Rank                  [maxGroups]int32
	Scale                             [maxGroups]float32
	M, N, XRow, DstRow, Rows, NGroups int32
}

// mostLayers is how many layers' du and db come from one call of bothOfLayers.
const mostLayers = 3

// loraBothArgs is LoRABothArgs.
type loraBothArgs struct {
	Layer  [mostLayers]loraArgs
	First  [mostLayers]int32
	Layers int32
}

// loraSum, loraPut and loraSumArgs are LoRASum, LoRAPut and LoRASumArgs.
type loraSum struct {
	Part, Out, Also, RowScale                              uint64
	Rows, Width, First, Parts, OutRow, AlsoRow, Rank, Kind int32
	Slices                                                 int32 // of the parts, each a thread's: see split
	Scale, Offset                                          float32
}

// split is the sum with as many slices as keep a thread's reads few and blocks busy: by the parts alone, so the order is.
func (s loraSum) split() loraSum {
	switch {
	case s.Parts <= 8:
		s.Slices = 1
	case s.Parts <= 16:
		s.Slices = 2
	default:
		s.Slices = 8
	}
	return s
}

// blocks is how many blocks of 256 threads make a sum that was split, or put.
func (s loraSum) blocks() int { return ceilDiv(int(s.Rows), 64/int(s.Slices)) }
func (p loraPut) blocks() int { return ceilDiv(int(p.Rows)*int(p.Cols/4), 256) }

// multiplied multiplies Also, and what is added transposed, by the numbers at rows and an offset.
func (s loraSum) multiplied(rows uint64, offset float32) loraSum {
	s.RowScale, s.Offset = rows, offset
	return s
}

const (
	sumStore int32 = iota
	sumAdd
	sumAddTransposed
)

type loraPut struct {
	From, To                                           uint64
	Rows, Cols, Begin, End, FromRow, FromColumn, ToRow int32
	Scale                                              float32
	Kind, _                                            int32
}

const (
	putWeights int32 = iota
	putOnes
	putBias
)

// biasColumns is how many columns of a product take a bias: its terms, and zeros up to a whole vector.
const biasColumns = 8

type loraSumArgs struct {
	Sums         [7]loraSum
	Puts         [7]loraPut
	First        [14]int32
	NSums, NPuts int32
}

// loraMaskArgs is LoRAMaskArgs.
type loraMaskArgs struct {
	Mask, Key, Module uint64
	Words             int64
	Keep, _           int32
}

// lora is one call's matrices: X [M,N] of type T (x, dy, or what is added to) with XRow elements a
// row, N a multiple of 8 (64 with a mask), and the groups. Mask, if not 0, holds M*N bits.
type lora struct {
	T      kernels.DType
	X      uint64
	M, N   int
	XRow   int
	Mask   uint64
	Groups []loraGroup
	Part   uint64 // partial results: see parts
	PartB  uint64
}

// rows is how many of M a block of 512 columns takes: the blocks fill the card once. resident is how many run on
// a multiprocessor.
func (l lora) rows(c card, resident int) int { return l.rowsOf(c, resident, 512, 16) }

// tallRows is rows of tall, whose blocks take 128 columns and 64 rows at a time.
func (l lora) tallRows(c card) int { return l.rowsOf(c, l.resident(), 128, 64) }

func (l lora) rowsOf(c card, resident, columns, step int) int {
	down := max(1, c.multiprocessors*resident/ceilDiv(l.N, columns))
	return max(step, ceilDiv(ceilDiv(l.M, down), step)*step)
}

func (l lora) resident() int {
	if len(l.Groups) == 1 {
		return 2
	}
	return 1
}

// parts returns how many F32 elements Part holds for down, as for both, and PartB for both.
func (l lora) parts(c card) (down, both int) {
	r := 16 * len(l.Groups)
	return ceilDiv(l.N, 512) * l.M * r, ceilDiv(l.M, l.rows(c, l.resident())) * l.N * r
}

// tallParts is how many Part holds for tall.
func (l lora) tallParts(c card) int { return ceilDiv(l.M, l.tallRows(c)) * l.N * 16 * len(l.Groups) }

// down makes u_g = Scale mask(X) W_g^T, W_g [rank,N], once its sums are made.
func (l lora) down(c card) (call, []loraSum) {
	return l.thin("down", c, true, false), l.sums(l.Part, l.M, ceilDiv(l.N, 512), sumStore)
}

// both makes du_g = Scale X W_g in du and db_g += Scale X^T u_g in db, W_g [N,rank], for one or two groups, once
// its sums are made.
func (l lora) both(c card, du, db []loraGroup) (call, []loraSum) {
	rows := l.rows(c, l.resident())
	toDU, toDB := l, l
	toDU.Groups, toDB.Groups = du, db
	return l.thin("both", c, true, true),
		append(toDU.sums(l.Part, l.M, ceilDiv(l.N, 512), sumStore), toDB.sums(l.PartB, l.N, ceilDiv(l.M, rows), sumAdd)...)
}

// bothOfLayers is both of up to mostLayers layers of one group each, in one call. Their dy have as many rows; du and db are
// a group of each layer.
func bothOfLayers(c card, layers []lora, du, db []loraGroup) (call, []loraSum) {
	var a loraBothArgs
	var sums []loraSum
	a.Layers = int32(len(layers))
	rows := layersRows(c, layers)
	blocks := 0
	for i, l := range layers {
		a.Layer[i], a.First[i] = l.args(rows), int32(blocks)
		across := ceilDiv(l.N, 512)
		blocks += across
		toDU, toDB := l, l
		toDU.Groups, toDB.Groups = du[i:i+1], db[i:i+1]
		sums = append(append(sums, toDU.sums(l.Part, l.M, across, sumStore)...), toDB.sums(l.PartB, l.N, ceilDiv(l.M, rows), sumAdd)...)
	}
	one := layers[0].thin("both", c, true, true)
	one.kernel = "lora_fast.lora_both_of_layers_1_" + typeName(layers[0].T)
	one.grid, one.args = [3]int{blocks, ceilDiv(layers[0].M, rows), 1}, argument(&a)
	return one, sums
}

// layersRows is rows for all layers together.
func layersRows(c card, layers []lora) int {
	all := layers[0]
	all.N = 0
	for _, l := range layers {
		all.N += 512 * ceilDiv(l.N, 512)
	}
	return all.rows(c, all.resident())
}

// tall makes da_g += Scale u_g^T mask(X) in da, whose U are [rank,N] F32, once its sums are made.
func (l lora) tall(c card, da []loraGroup) (call, []loraSum) {
	to := l
	to.Groups = da
	return l.thin("tall", c, false, true), to.sums(l.Part, l.N, ceilDiv(l.M, l.tallRows(c)), sumAddTransposed)
}

// add makes X += mask(sum of Scale u_g W_g), W_g [rank,N]; up X += sum of Scale u_g W_g^T, W_g [N,rank].
func (l lora) add() call { return l.addCall("add") }
func (l lora) up() call  { return l.addCall("up") }

func (l lora) addCall(name string) call {
	a := l.args(0)
	a.X, a.Dst, a.DstRow = 0, l.X, int32(l.XRow)
	return call{
		kernel: l.kernel(name), threads: 256,
		grid:   [3]int{ceilDiv(l.N, 64), ceilDiv(l.M, 128), 1},
		shared: 16 * len(l.Groups) * 128, args: argument(&a),
	}
}

func (l lora) thin(name string, c card, down, tall bool) call {
	rows, columns, along := l.rows(c, l.resident()), 512, 1
	if !down {
		rows, columns, along = l.tallRows(c), 128, 4
	}
	a := l.args(rows)
	const warps, step, stages = 8, 16, 4
	slab := warps * step * 2 * 64
	shared := stages * slab
	if tall {
		shared += stages * along * step * 32 * len(l.Groups)
	}
	if l.Mask != 0 {
		shared += slab
	}
	if down {
		shared += 2 * warps * step * 16 * len(l.Groups) * 4
	}
	return call{
		kernel: l.kernel(name), threads: 32 * warps,
		grid:   [3]int{ceilDiv(l.N, columns), ceilDiv(l.M, rows), 1},
		shared: shared, args: argument(&a),
	}
}

func (l lora) kernel(name string) string {
	if l.Mask != 0 {
		name += "_masked"
	}
	return fmt.Sprintf("lora_fast.lora_%s_%d_%s", name, len(l.Groups), typeName(l.T))
}

func (l lora) args(rows int) loraArgs {
	a := loraArgs{X: l.X, Mask: l.Mask, Part: l.Part, PartB: l.PartB, M: int32(l.M), N: int32(l.N), XRow: int32(l.XRow), Rows: int32(rows), NGroups: int32(len(l.Groups))}
	for i, g := range l.Groups {
		a.W[i], a.U[i], a.WRow[i], a.URow[i], a.Rank[i], a.Scale[i] = g.W, g.U, g.WRow, g.URow, g.Rank, g.Scale
	}
	return a
}

// sums are those of partial results [parts][rows][R] into each group's U.
func (l lora) sums(part uint64, rows, parts int, kind int32) (all []loraSum) {
	for i, g := range l.Groups {
		all = append(all, loraSum{Part: part, Out: g.U, Also: g.Also, Rows: int32(rows), Width: int32(16 * len(l.Groups)), First: int32(16 * i),
			Parts: int32(parts), OutRow: g.URow, AlsoRow: g.AlsoRow, Rank: g.Rank, Kind: kind, Scale: g.Scale, Offset: 1})
	}
	return all
}

// sumsAndPuts returns the calls that make sums and puts, whose sizes are multiples of 4.
func sumsAndPuts(t kernels.DType, sums []loraSum, puts []loraPut) (calls []call) {
	for len(sums)+len(puts) > 0 {
		var a loraSumArgs
		blocks := 0
		a.NPuts = int32(copy(a.Puts[:], puts))
		for i := range min(len(sums), len(a.Sums)) {
			a.Sums[i], a.First[i] = sums[i].split(), int32(blocks)
			blocks += a.Sums[i].blocks()
			a.NSums++
		}
		for i, p := range a.Puts[:a.NPuts] {
			a.First[int(a.NSums)+i] = int32(blocks)
			blocks += p.blocks()
		}
		sums, puts = sums[a.NSums:], puts[a.NPuts:]
		calls = append(calls, call{kernel: "lora_fast.lora_sum_" + typeName(t), threads: 256, grid: [3]int{blocks, 1, 1}, args: argument(&a)})
	}
	return calls
}

// loraMask makes the bits of a mask of elements (a multiple of 32), of which keep in 256 stay;
// key is the address of the micro-batch's.
func loraMask(mask, key, module uint64, elements, keep int) call {
	a := loraMaskArgs{Mask: mask, Key: key, Module: module, Words: int64(elements / 32), Keep: int32(keep)}
	return call{kernel: "lora_fast.lora_mask", threads: 256, grid: [3]int{ceilDiv(elements/32, 256), 1, 1}, args: argument(&a)}
}

// roomy is the stride for so many columns of activations whose rows begin at multiples of 128 bytes.
func roomy(cols int) int { return (cols + 63) &^ 63 }
