//go:build linux

package cuda

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// The calls that scripts/gpu-kernels makes on a real GPU, where there is no Go, are written here
// ahead: the very code that starts kernels in the program chooses them.
var planFile = flag.String("plan", "", "write the calls for scripts/gpu-kernels to this file")

// planned is one case: what is computed, and the calls. Addresses are place(buffer, byte).
type planned struct {
	Role   string          `json:"role"`
	Shape  map[string]any  `json:"shape"`
	Passes [][]plannedCall `json:"passes"` // forward, backward
}

type plannedCall struct {
	Kernel  string       `json:"kernel"`
	Grid    [3]int       `json:"grid"`
	Threads int          `json:"threads"`
	Shared  int          `json:"shared"`
	Args    []byte       `json:"args"`
	Maps    []plannedMap `json:"maps"`
}

type plannedMap struct {
	At      int       `json:"at"`
	Address uint64    `json:"address"`
	Dims    [4]uint64 `json:"dims"`
	Strides [3]uint64 `json:"strides"`
	Box     [4]uint32 `json:"box"`
}

// place is an address in buffer n, which the script numbers likewise; no pair of sizes looks so.
func place(n, bytes int) uint64 { return 0x7a5c<<48 | uint64(n)<<40 | uint64(bytes) }

func plan(calls []call) []plannedCall {
	out := []plannedCall{}
	for _, c := range calls {
		p := plannedCall{Kernel: c.kernel, Grid: c.grid, Threads: c.threads, Shared: c.shared, Args: c.args}
		for _, m := range c.maps {
			p.Maps = append(p.Maps, plannedMap{m.at, m.address, m.dims, m.strides, m.box})
		}
		out = append(out, p)
	}
	return out
}

func TestPlan(t *testing.T) {
	cases := append(append(attentionPlans(), fastPlans()...), productPlans()...)
	if *planFile == "" {
		return
	}
	b, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*planFile, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func attentionPlans() []planned {
	var plans []planned
	add := func(c attentionCase, timed bool) {
		w, d, o := int32((c.heads+2*c.kvHeads)*c.dim), int32(c.dim), int32(c.heads*c.dim)
		kv, dkv := 1, 5
		if c.keys > c.queries {
			kv, dkv = 2, 6
		}
		k0, v0 := c.dtype.Bytes(c.heads*c.dim), c.dtype.Bytes((c.heads+c.kvHeads)*c.dim)
		a := attentionArgs{
			Q: place(1, 0), K: place(kv, k0), V: place(kv, v0), OutIn: place(4, 0), Out: place(4, 0), LSE: place(7, 0),
			QRow: w, QHead: d, KRow: w, KHead: d, VRow: w, VHead: d, OutRow: o, OutHead: d,
			Batch: int32(c.batch), Queries: int32(c.queries), Keys: int32(c.keys), Heads: int32(c.heads), KVHeads: int32(c.kvHeads), Dim: d,
			Window: int32(c.window), Splits: 1, Scale: float32(1 / math.Sqrt(float64(c.dim))), Softcap: c.softcap,
		}
		if c.documents > 0 {
			a.Starts = place(8, 0)
		}
		if a.onHopper(c.card) != c.card.hopper {
			return
		}
		forward := attentionForward(c.dtype, a, c.card)
		a.DOut, a.DOutRow, a.DOutHead = place(3, 0), o, d
		a.DQ, a.DK, a.DV = place(5, 0), place(dkv, k0), place(dkv, v0)
		a.DQRow, a.DQHead, a.DKRow, a.DKHead, a.DVRow, a.DVHead = w, d, w, d, w, d
		a.Delta, a.Part, a.Splits = place(9, 0), place(10, 0), int32(c.splits)
		if c.splits == 0 {
			a.Splits = int32(attentionSplits(a, c.card))
		}
		plans = append(plans, planned{"attention", map[string]any{
			"dtype": typeName(c.dtype), "batch": c.batch, "queries": c.queries, "keys": c.keys, "heads": c.heads, "kv_heads": c.kvHeads, "dim": c.dim,
			"window": c.window, "softcap": c.softcap, "documents": c.documents, "splits": a.Splits, "hopper": c.card.hopper, "timed": timed,
		}, [][]plannedCall{plan(forward), plan(attentionBackward(c.dtype, a, c.card))}})
	}
	for _, hopper := range []bool{true, false} {
		full := card{multiprocessors: 132, hopper: hopper}
		one := card{multiprocessors: 1, hopper: hopper} // the larger tiles
		for _, dtype := range []kernels.DType{kernels.BF16, kernels.F16} {
			for _, dim := range []int{32, 64, 72, 80, 96, 112, 128, 256} {
				add(attentionCase{dtype: dtype, batch: 1, queries: 1000, keys: 1000, heads: 8, kvHeads: 2, dim: dim, card: full}, false)
				add(attentionCase{dtype: dtype, batch: 2, queries: 777, keys: 777, heads: 4, kvHeads: 2, dim: dim, documents: 5, card: one}, false)
				add(attentionCase{dtype: dtype, batch: 1, queries: 1536, keys: 1536, heads: 4, kvHeads: 1, dim: dim, documents: 2, window: 300, splits: 2, card: full}, false)
				add(attentionCase{dtype: dtype, batch: 1, queries: 520, keys: 520, heads: 2, kvHeads: 2, dim: dim, softcap: 3, card: full}, false)
				add(attentionCase{dtype: dtype, batch: 2, queries: 33, keys: 700, heads: 4, kvHeads: 1, dim: dim, window: 650, card: full}, false)
			}
		}
		add(attentionCase{dtype: kernels.BF16, batch: 1, queries: 4096, keys: 4096, heads: 2, kvHeads: 1, dim: 64, card: full}, false)
		for _, s := range [][5]int{{8, 1024, 32, 8, 64}, {4, 2048, 32, 8, 64}, {16, 1024, 12, 12, 64}, {4, 1024, 24, 8, 128}, {2, 2048, 32, 8, 128},
			{1, 4096, 32, 8, 128}, {1, 1024, 32, 8, 64}, {1, 1024, 32, 8, 128}, {4, 1024, 32, 8, 96}, {4, 1024, 16, 8, 256}} {
			add(attentionCase{dtype: kernels.BF16, batch: s[0], queries: s[1], keys: s[1], heads: s[2], kvHeads: s[3], dim: s[4], card: full}, true)
		}
	}
	return plans
}

func fastPlans() []planned {
	var plans []planned
	for _, c := range []struct {
		dtype   kernels.DType
		rows, v int
		softcap float32
		timed   bool
	}{
		{kernels.BF16, 2048, 128256, 0, true}, {kernels.BF16, 2048, 50257, 0, true}, {kernels.BF16, 1024, 151936, 0, true},
		{kernels.BF16, 1024, 256000, 0, true}, {kernels.BF16, 1024, 256000, 30, true},
		{kernels.F16, 64, 128256, 0, false}, {kernels.F16, 64, 50257, 5, false}, {kernels.F16, 64, 151936, 0, false},
	} {
		stride := int32((c.v + 7) / 8 * 8)
		a := lossArgs{X: place(1, 0), DX: place(1, 0), Target: place(3, 0), Loss: place(4, 0), Scale: place(5, 0),
			Rows: int32(c.rows), V: int32(c.v), XRow: stride, DXRow: stride, Softcap: c.softcap}
		plans = append(plans, planned{"crossentropy", map[string]any{"dtype": typeName(c.dtype), "rows": c.rows, "v": c.v, "stride": stride,
			"softcap": c.softcap, "timed": c.timed}, [][]plannedCall{plan([]call{crossEntropy(c.dtype, a, card{})})}})
	}
	for _, c := range []struct {
		dtype      kernels.DType
		rows, cols int
		layer      bool
		timed      bool
	}{
		{kernels.BF16, 8192, 2048, false, true}, {kernels.BF16, 4096, 3072, false, true}, {kernels.BF16, 4096, 4096, false, true}, {kernels.BF16, 16384, 768, true, true},
		{kernels.F16, 100, 5128, true, false}, {kernels.F32, 100, 4096, false, false},
	} {
		n := int32(c.cols)
		a := normArgs{X: place(1, 0), Residual: place(2, 0), Sum: place(2, 0), Y: place(3, 0), Weight: place(4, 0), Rstd: place(6, 0),
			XRow: n, ResidualRow: n, DYRow: n, SumRow: n, YRow: n, DXRow: n, Rows: int32(c.rows), Cols: n, Eps: 1e-5}
		if c.layer {
			a.Bias, a.Mean = place(5, 0), place(7, 0)
		}
		b := a
		b.X, b.DY, b.DX, b.Accumulate = place(2, 0), place(8, 0), place(9, 0), 1
		plans = append(plans, planned{"norm", map[string]any{"dtype": typeName(c.dtype), "rows": c.rows, "cols": c.cols, "layer": c.layer, "timed": c.timed},
			[][]plannedCall{plan([]call{norm(c.dtype, a)}), plan([]call{normGrad(c.dtype, b)})}})
	}
	for _, c := range []struct {
		dtype      kernels.DType
		rows, cols int
		act        kernels.Activation
		up, timed  bool
	}{
		{kernels.BF16, 8192, 8192, kernels.SiLU, true, true}, {kernels.BF16, 4096, 14336, kernels.SiLU, true, true}, {kernels.BF16, 16384, 3072, kernels.GELUTanh, false, true},
		{kernels.F16, 200, 1000, kernels.GELU, true, false}, {kernels.F32, 200, 1000, kernels.GELU, false, false}, {kernels.F16, 200, 1000, kernels.ReLU, false, false},
	} {
		n, name := int32(c.cols), "activate"
		if c.up {
			name = "gate"
		}
		a := gateArgs{Gate: place(1, 0), Up: place(1, c.dtype.Bytes(c.cols)), DY: place(3, 0), Y: place(2, 0), GateRow: 2 * n, UpRow: 2 * n, DYRow: n, YRow: n,
			DGateRow: 2 * n, DUpRow: 2 * n, Cols: n, Activation: int32(c.act)}
		a.DGate, a.DUp = a.Gate, a.Up
		plans = append(plans, planned{"gate", map[string]any{"dtype": typeName(c.dtype), "rows": c.rows, "cols": c.cols, "act": int(c.act), "up": c.up, "timed": c.timed},
			[][]plannedCall{plan([]call{gate(name, c.dtype, c.rows, a)}), plan([]call{gate(name+"_grad", c.dtype, c.rows, a)})}})
	}
	for _, c := range []struct {
		dtype                            kernels.DType
		rows, length, heads, extra, half int
		timed                            bool
	}{
		{kernels.BF16, 8192, 1024, 40, 8, 32, true}, {kernels.BF16, 4096, 2048, 40, 8, 64, true}, {kernels.F16, 300, 100, 6, 2, 32, false}, {kernels.F32, 300, 100, 6, 2, 32, false},
	} {
		dim := 2 * c.half
		stride := int32((c.heads + c.extra) * dim)
		a := ropeArgs{X: place(1, 0), Cos: place(2, 0), Sin: place(3, 0), Rows: int32(c.rows), Len: int32(c.length), Heads: int32(c.heads), Half: int32(c.half), XRow: stride, XHead: int32(dim), Sign: 1}
		plans = append(plans, planned{"rope", map[string]any{"dtype": typeName(c.dtype), "rows": c.rows, "len": c.length, "heads": c.heads, "half": c.half, "stride": stride, "timed": c.timed},
			[][]plannedCall{plan([]call{rope(c.dtype, a)})}})
	}
	return plans
}

func productPlans() []planned {
	var plans []planned
	for _, c := range []struct {
		t, b    kernels.DType
		ta, tb  bool
		m, n, k int
		f32     bool
		timed   bool
	}{
		{kernels.BF16, kernels.BF16, false, true, 8192, 3072, 2048, false, true}, {kernels.BF16, kernels.BF16, false, false, 8192, 2048, 3072, false, true},
		{kernels.BF16, kernels.BF16, false, true, 4096, 28672, 4096, false, true}, {kernels.BF16, kernels.BF16, false, true, 1024, 4096, 4096, false, true},
		{kernels.BF16, kernels.NF4, false, true, 4096, 28672, 4096, false, true}, {kernels.BF16, kernels.NF4, false, false, 4096, 4096, 28672, false, true},
		{kernels.BF16, kernels.F32, false, true, 8192, 16, 2048, false, true}, {kernels.BF16, kernels.BF16, true, false, 2048, 2048, 4096, true, true},
		{kernels.F16, kernels.F16, true, true, 264, 201, 1000, true, false}, {kernels.F16, kernels.BF16, false, true, 77, 99, 264, false, false},
		{kernels.BF16, kernels.F16, false, false, 77, 104, 264, true, false}, {kernels.F16, kernels.F32, false, false, 130, 136, 64, false, false},
		{kernels.F16, kernels.NF4, false, true, 130, 130, 640, true, false},
	} {
		ar, br := c.k, c.n
		if c.ta {
			ar = c.m
		}
		if c.tb {
			br = c.k
		}
		a := matmulArgs{A: place(1, 0), B: place(2, 0), Dst: place(4, 0), M: int32(c.m), N: int32(c.n), K: int32(c.k), ARow: int32(ar), BRow: int32(br), DstRow: int32(c.n), Alpha: 1}
		b := "nf4"
		if c.b == kernels.NF4 {
			a.Absmax = place(3, 0)
		} else {
			b = typeName(c.b)
		}
		if c.f32 {
			a.DstF32 = 1
		}
		plans = append(plans, planned{"matmul", map[string]any{"dtype": typeName(c.t), "b": b, "ta": c.ta, "tb": c.tb, "m": c.m, "n": c.n, "k": c.k, "f32": c.f32, "timed": c.timed},
			[][]plannedCall{plan([]call{matmul(c.t, c.b, c.ta, c.tb, a)})}})
	}
	full := card{multiprocessors: 132, hopper: true}
	for _, c := range []struct {
		t     kernels.DType
		m, n  int
		parts int
		mask  bool
		timed bool
	}{
		{kernels.BF16, 8192, 2048, 1, false, true}, {kernels.BF16, 8192, 3072, 1, false, true}, {kernels.BF16, 8192, 16384, 1, false, true},
		{kernels.BF16, 4096, 4096, 1, false, true}, {kernels.BF16, 1024, 4096, 1, false, true}, {kernels.BF16, 8192, 2048, 2, false, true},
		{kernels.BF16, 8192, 2048, 3, false, true}, {kernels.BF16, 8192, 2048, 4, false, true}, {kernels.BF16, 8192, 2048, 1, true, true}, {kernels.BF16, 8192, 2048, 3, true, true},
		{kernels.F16, 1000, 640, 1, true, false}, {kernels.F16, 1000, 640, 2, false, false}, {kernels.F16, 1000, 640, 4, true, false},
	} {
		// 1 x, 2 mask, 3 part, 4 part b, 5 key, 10+i A, 20+i B, 30+i u, 40+i u made, 50+i du, 60+i db, 70+i da
		l := lora{T: c.t, X: place(1, 0), M: c.m, N: c.n, XRow: c.n, Part: place(3, 0), PartB: place(4, 0)}
		group := func(w, u, wRow, uRow int, scale float32) []loraGroup {
			var gs []loraGroup
			for i := range c.parts {
				g := loraGroup{WRow: int32(wRow), URow: int32(uRow), Rank: 16, Scale: scale, U: place(u+i, 0)}
				if w > 0 {
					g.W = place(w+i, 0)
				}
				gs = append(gs, g)
			}
			return gs
		}
		with := func(groups []loraGroup, masked bool) lora {
			x := l
			x.Groups = groups
			if masked && c.mask {
				x.Mask = place(2, 0)
			}
			return x
		}
		first := plan([]call{})
		if c.mask {
			first = plan([]call{loraMask(place(2, 0), place(5, 0), 7, c.m*c.n, 243)})
		}
		down := with(group(10, 40, c.n, 16, 1), true)
		tall := with(group(0, 30, 0, 16, 1), true)
		whole := func(thin call, sums []loraSum) []plannedCall {
			return plan(append([]call{thin}, sumsAndPuts(c.t, sums, nil)...))
		}
		passes := [][]plannedCall{first, whole(down.down(full)), whole(tall.tall(full, group(0, 70, 0, c.n, 1))), plan([]call{with(group(20, 30, 16, 16, 0.5), false).up()}), plan([]call{with(group(10, 30, c.n, 16, 0.5), true).add()})}
		both := with(group(20, 30, 16, 16, 1), false)
		if c.parts <= 2 {
			passes = append(passes, whole(both.both(full, group(0, 50, 0, 16, 1), group(0, 60, 0, 16, 1))))
		}
		d, t := down.parts(full)
		plans = append(plans, planned{"lora", map[string]any{"dtype": typeName(c.t), "m": c.m, "n": c.n, "parts": c.parts, "mask": c.mask, "part": max(d, down.tallParts(full)), "part_b": t, "timed": c.timed}, passes})
	}
	return plans
}
