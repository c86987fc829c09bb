package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// attentionArgs is AttentionArgs of attention.cuh: addresses, strides in elements, sizes.
type attentionArgs struct {
	Q, K, V, OutIn, DOut     uint64
	Out, DQ, DK, DV          uint64
	LSE, Delta, Part, Starts uint64
	Cos, Sin, Positions      uint64
	QRow, QHead              int32
	KRow, KHead              int32
	VRow, VHead              int32
	OutRow, OutHead          int32
	DOutRow, DOutHead        int32
	DQRow, DQHead            int32
	DKRow, DKHead            int32
	DVRow, DVHead            int32
	Batch, Queries, Keys     int32
	Heads, KVHeads, Dim      int32
	Window, Splits           int32
	Half, Len, Start         int32
	Scale, Softcap           float32
	_                        int32
}

// hopperAttentionArgs is HopperAttentionArgs of attention_hopper.cu: the arguments, followed at
// hopperMaps by the tensor maps of q, k, v and dout.
type hopperAttentionArgs struct {
	attentionArgs
	_    [2]int32
	Maps [4][16]uint64
}

const hopperMaps = 256

// tiled reports whether the kernels here take the arguments: addresses aligned to 16 bytes,
// strides and head size multiples of 8 elements, heads of at most 256. The plain kernel takes
// the others.
func (a *attentionArgs) tiled() bool {
	return allMultiples(16, a.Q, a.K, a.V, a.OutIn, a.DOut, a.Out, a.DQ, a.DK, a.DV) &&
		allMultiples(8, a.QRow, a.QHead, a.KRow, a.KHead, a.VRow, a.VHead, a.OutRow, a.OutHead,
			a.DOutRow, a.DOutHead, a.DQRow, a.DQHead, a.DKRow, a.DKHead, a.DVRow, a.DVHead, a.Dim) && a.Dim <= 256
}

// onHopper reports whether attention_hopper.cu takes the arguments too.
func (a *attentionArgs) onHopper(c card) bool {
	return c.hopper && a.Queries == a.Keys && a.Softcap == 0 && a.Dim > 32 && a.Dim <= 128
}

// rotatesBack reports whether dq and dk can be rotated back in registers before they are written, and
// whether that is worth it: a pair lies in one thread there if half is a multiple of 8, unless a block makes half of a head.
func (a *attentionArgs) rotatesBack(r ropeArgs, c card) bool {
	if a.Queries != a.Keys || !allMultiples(8, r.Half) || !allMultiples(16, r.Cos, r.Sin) {
		return false
	}
	if a.onHopper(c) {
		return a.whole()
	}
	width, _, _ := mmaTile("dkv", *a, c)
	return width < 256
}

// whole reports whether Hopper's kernels make delta, and can rotate dq and dk back (WHOLE).
func (a *attentionArgs) whole() bool { return a.Dim <= 64 }

// mmaTiles are the kernels of attention_mma.cu by the width that heads are padded to: the rows
// of a block (queries; for dkv keys) and of a step over the other side.
var mmaTiles = []struct {
	width            int
	forward, dq, dkv tiles
	few              map[string]tiles // smaller ones, for calls that leave the card half empty
}{
	{width: 32, forward: tiles{64, 64}, dq: tiles{64, 64}, dkv: tiles{64, 64}},
	{width: 64, forward: tiles{64, 64}, dq: tiles{128, 64}, dkv: tiles{128, 64}, few: map[string]tiles{"dq": {64, 64}, "dkv": {64, 64}}},
	{width: 80, forward: tiles{64, 64}, dq: tiles{64, 64}, dkv: tiles{64, 64}},
	{width: 96, forward: tiles{64, 64}, dq: tiles{64, 64}, dkv: tiles{64, 64}},
	{width: 128, forward: tiles{128, 64}, dq: tiles{128, 32}, dkv: tiles{64, 64}, few: map[string]tiles{"forward": {64, 64}, "dq": {64, 64}}},
	{width: 256, forward: tiles{64, 32}, dq: tiles{64, 16}, dkv: tiles{64, 16}},
}

type tiles struct{ rows, step int }

// attentionForward returns the calls that make out and lse. t is BF16 or F16.
func attentionForward(t kernels.DType, a attentionArgs, c card) []call {
	if a.onHopper(c) {
		return []call{hopperForward(t, a, c)}
	}
	w, tile, few := mmaTile("forward", a, c)
	rows := ceilDiv(int(a.Queries), tile.rows)
	return []call{{
		kernel: entry("attention_mma.attention_forward", w, few, t), threads: 128,
		grid:   [3]int{int(a.Heads * a.Batch), rows, 1},
		shared: (tile.rows + 4*tile.step) * 2 * w,
		args:   argument(&a),
	}}
}

// attentionSplits returns how many blocks share the query heads of one key head in the
// backward pass, chosen so that there are three blocks of work for every two that can run.
// If there is more than one, dk and dv are summed from parts, in order; Part then holds
// splits * 2 * batch*keys * kvheads*dim F32. Delta holds batch*heads*queries.
func attentionSplits(a attentionArgs, c card) int {
	keys, enough := 128, c.multiprocessors*3/2
	if !a.onHopper(c) {
		_, tile, _ := mmaTile("dkv", a, c)
		keys, enough = tile.rows, 3*c.multiprocessors
	}
	group := int(a.Heads / a.KVHeads)
	for s := 1; s <= group; s++ {
		if group%s == 0 && int(a.Batch*a.KVHeads)*s*ceilDiv(int(a.Keys), keys) >= enough {
			return s
		}
	}
	return group
}

// attentionBackward returns the calls that make dq, dk and dv from what the forward pass left
// (Out, given again as OutIn, and LSE), and rotates dq and dk back if Half isn't 0. The caller sets Splits and the memory for it.
func attentionBackward(t kernels.DType, a attentionArgs, c card) []call {
	var calls []call
	if !a.onHopper(c) || !a.whole() {
		lanes := 4
		for lanes*8 < int(a.Dim) {
			lanes *= 2
		}
		calls = append(calls, call{
			kernel: entry("attention_mma.attention_delta", lanes, false, t), threads: 256,
			grid: [3]int{ceilDiv(int(a.Batch*a.Queries)*int(a.Heads)*lanes, 256), 1, 1},
			args: argument(&a),
		})
	}
	if a.onHopper(c) {
		calls = append(calls, hopperBackward(t, a, c)...)
	} else {
		w, tile, few := mmaTile("dq", a, c)
		calls = append(calls, call{
			kernel: entry("attention_mma.attention_dq", w, few, t), threads: 128,
			grid:   [3]int{int(a.Heads * a.Batch), ceilDiv(int(a.Queries), tile.rows), 1},
			shared: (2*tile.rows + 4*tile.step) * 2 * w,
			args:   argument(&a),
		})
		w, tile, few = mmaTile("dkv", a, c)
		halves := 1
		if w == 256 {
			halves = 2
		}
		calls = append(calls, call{
			kernel: entry("attention_mma.attention_dkv", w, few, t), threads: 128,
			grid:   [3]int{int(a.Splits * a.KVHeads * a.Batch), ceilDiv(int(a.Keys), tile.rows), halves},
			shared: (2*tile.rows+4*tile.step)*2*w + 24*tile.step,
			args:   argument(&a),
		})
	}
	if a.Splits > 1 {
		calls = append(calls, call{
			kernel: fmt.Sprintf("attention_mma.attention_add_parts_%s", typeName(t)), threads: 256,
			grid: [3]int{ceilDiv(int(a.Batch*a.Keys)*int(a.KVHeads*a.Dim/8), 256), 2, 1},
			args: argument(&a),
		})
	}
	return calls
}

// mmaTile chooses a kernel of attention_mma.cu: the width of its tiles, their rows, and whether
// it is the one for few blocks.
func mmaTile(what string, a attentionArgs, c card) (width int, t tiles, few bool) {
	for _, k := range mmaTiles {
		if int(a.Dim) > k.width || a.Softcap > 0 && k.width < 256 {
			continue // soft-caps are known to the widest alone
		}
		t = map[string]tiles{"forward": k.forward, "dq": k.dq, "dkv": k.dkv}[what]
		if small, ok := k.few[what]; ok && int(a.Heads*a.Batch)*ceilDiv(int(a.Queries), 128) < 4*c.multiprocessors {
			return k.width, small, true
		}
		return k.width, t, false
	}
	panic(fmt.Sprintf("cuda: tiled attention with heads of %d", a.Dim))
}

// hopperForward is the forward pass of attention_hopper.cu: one block a multiprocessor.
func hopperForward(t kernels.DType, a attentionArgs, c card) call {
	width, groups, name := 64, 2, "attention_hopper.hopper_forward_64"
	switch {
	case a.Dim > 64:
		width, name = 128, "attention_hopper.hopper_forward_128"
	case a.Queries >= 2048:
		groups, name = 3, name+"_long"
	}
	const step, stages = 128, 2
	rows := 64 * groups
	return hopperCall(t, a, c, name, groups, int(a.Heads*a.Batch)*ceilDiv(int(a.Queries), rows),
		(rows+2*stages*step)*2*width+16+32*stages, rows, step)
}

// hopperBackward makes dq, with delta if it is whole, then dk and dv.
func hopperBackward(t kernels.DType, a attentionArgs, c card) []call {
	width, stages := 64, 3
	if a.Dim > 64 {
		width, stages = 128, 2
	}
	const rows, keys, step = 128, 128, 64
	return []call{
		hopperCall(t, a, c, fmt.Sprintf("attention_hopper.hopper_dq_%d", width), 2, int(a.Heads*a.Batch)*ceilDiv(int(a.Queries), rows),
			(2*rows+2*2*keys)*2*width+16+16*2, rows, keys),
		hopperCall(t, a, c, fmt.Sprintf("attention_hopper.hopper_dkv_%d", width), 2, int(a.Splits*a.KVHeads*a.Batch)*ceilDiv(int(a.Keys), keys),
			(4*keys+2*stages*step)*2*width+64+16*stages+12*stages*step, step, keys),
	}
}

// hopperCall is a persistent kernel for a number of tiles, with the maps of q, k, v and dout,
// whose boxes are queries and keys high.
func hopperCall(t kernels.DType, a attentionArgs, c card, name string, groups, tiles, shared, queries, keys int) call {
	all := hopperAttentionArgs{attentionArgs: a}
	one := func(i int, address uint64, heads, head, rows, row int32, box int) tensorMap {
		return tensorMap{
			at: hopperMaps + 128*i, address: address,
			dims:    [4]uint64{uint64(a.Dim), uint64(heads), uint64(rows), uint64(a.Batch)},
			strides: [3]uint64{2 * uint64(head), 2 * uint64(row), 2 * uint64(row) * uint64(rows)},
			box:     [4]uint32{64, 1, uint32(box), 1},
		}
	}
	maps := []tensorMap{
		one(0, a.Q, a.Heads, a.QHead, a.Queries, a.QRow, queries),
		one(1, a.K, a.KVHeads, a.KHead, a.Keys, a.KRow, keys),
		one(2, a.V, a.KVHeads, a.VHead, a.Keys, a.VRow, keys),
	}
	if a.DOut != 0 {
		maps = append(maps, one(3, a.DOut, a.Heads, a.DOutHead, a.Queries, a.DOutRow, queries))
	}
	return call{
		kernel: name + "_" + typeName(t), threads: 128 + 128*groups,
		grid:   [3]int{min(tiles, c.multiprocessors), 1, 1},
		shared: shared, args: argument(&all), maps: maps,
	}
}

// entry names a kernel: source.role_size[_few]_type.
func entry(role string, size int, few bool, t kernels.DType) string {
	if few {
		return fmt.Sprintf("%s_%d_few_%s", role, size, typeName(t))
	}
	return fmt.Sprintf("%s_%d_%s", role, size, typeName(t))
}

// typeName is the sources' name of an element type.
func typeName(t kernels.DType) string {
	switch t {
	case kernels.F32:
		return "float"
	case kernels.BF16:
		return "bf16"
	case kernels.F16:
		return "f16"
	}
	panic(fmt.Sprintf("cuda: no kernels for activations of %v", t))
}
