//go:build linux

package cuda

import (
	"fmt"
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// attentionCase is a shape of attention on packed [q | k | v] rows, as the trainer keeps them.
type attentionCase struct {
	dtype                                     kernels.DType
	batch, queries, keys, heads, kvHeads, dim int
	window                                    int
	softcap                                   float32
	documents                                 int // cuts in each sequence
	splits                                    int // 0: as chosen
	half                                      int // of a rotation that is taken back
	positions                                 bool
	card                                      card
}

func (c attentionCase) String() string {
	return fmt.Sprintf("%v batch %d, %d of %d, heads %d/%d of %d, window %d, softcap %v, documents %d, splits %d, half %d, positions %v, hopper %v",
		c.dtype, c.batch, c.queries, c.keys, c.heads, c.kvHeads, c.dim, c.window, c.softcap, c.documents, c.splits, c.half, c.positions, c.card.hopper)
}

func TestAttention(t *testing.T) {
	bf16, f16 := kernels.BF16, kernels.F16
	small, large, hopper := card{multiprocessors: 1}, card{multiprocessors: 132}, card{multiprocessors: 3, hopper: true}
	for _, c := range []attentionCase{
		// few: what is chosen for 132 multiprocessors; a card of one takes the larger tiles
		{dtype: bf16, batch: 1, queries: 131, keys: 131, heads: 2, kvHeads: 1, dim: 64, card: large},
		{dtype: f16, batch: 2, queries: 150, keys: 150, heads: 4, kvHeads: 1, dim: 64, documents: 3, card: small},
		{dtype: bf16, batch: 1, queries: 67, keys: 67, heads: 2, kvHeads: 2, dim: 32, window: 20, card: large},
		{dtype: bf16, batch: 1, queries: 100, keys: 100, heads: 2, kvHeads: 1, dim: 80, documents: 2, window: 40, card: large},
		{dtype: bf16, batch: 1, queries: 90, keys: 90, heads: 2, kvHeads: 1, dim: 96, softcap: 2, card: large},
		{dtype: bf16, batch: 1, queries: 140, keys: 140, heads: 2, kvHeads: 1, dim: 128, card: small},
		{dtype: f16, batch: 1, queries: 70, keys: 70, heads: 2, kvHeads: 1, dim: 112, window: 1, card: large},
		{dtype: bf16, batch: 1, queries: 75, keys: 75, heads: 2, kvHeads: 1, dim: 256, softcap: 5, window: 50, card: large},
		{dtype: bf16, batch: 2, queries: 7, keys: 75, heads: 2, kvHeads: 1, dim: 64, window: 30, card: large},
		{dtype: bf16, batch: 1, queries: 1, keys: 100, heads: 4, kvHeads: 2, dim: 64, card: large},

		{dtype: bf16, batch: 1, queries: 200, keys: 200, heads: 2, kvHeads: 1, dim: 64, card: hopper},
		{dtype: f16, batch: 2, queries: 190, keys: 190, heads: 2, kvHeads: 1, dim: 128, documents: 3, card: hopper},
		{dtype: bf16, batch: 1, queries: 300, keys: 300, heads: 2, kvHeads: 1, dim: 96, window: 70, documents: 1, card: hopper},
		{dtype: bf16, batch: 1, queries: 130, keys: 130, heads: 4, kvHeads: 2, dim: 40, window: 1, splits: 2, card: hopper},

		{dtype: bf16, batch: 2, queries: 131, keys: 131, heads: 2, kvHeads: 1, dim: 64, half: 32, card: small},
		{dtype: f16, batch: 1, queries: 70, keys: 70, heads: 2, kvHeads: 1, dim: 80, half: 16, positions: true, documents: 2, card: large},
		{dtype: bf16, batch: 2, queries: 40, keys: 40, heads: 4, kvHeads: 1, dim: 112, half: 56, splits: 2, card: large},
		{dtype: bf16, batch: 2, queries: 200, keys: 200, heads: 2, kvHeads: 1, dim: 64, half: 32, positions: true, documents: 3, card: hopper},
		{dtype: f16, batch: 2, queries: 190, keys: 190, heads: 2, kvHeads: 1, dim: 64, half: 32, window: 70, card: hopper},
		{dtype: bf16, batch: 1, queries: 130, keys: 130, heads: 2, kvHeads: 1, dim: 40, half: 8, card: hopper},
		{dtype: bf16, batch: 2, queries: 130, keys: 130, heads: 4, kvHeads: 2, dim: 64, half: 16, splits: 2, card: hopper},
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			testAttention(t, c)
		})
	}
}

func testAttention(t *testing.T, c attentionCase) {
	g := newGPU(t)
	width := (c.heads + 2*c.kvHeads) * c.dim
	queries, keys, extra := c.batch*c.queries, c.batch*c.keys, c.keys-c.queries
	// a query's row of qkv is the key's at its position, unless there are more keys than queries
	qat, q := g.put(c.dtype, g.normal(queries*width))
	kvat, kv := qat, q
	if extra > 0 {
		kvat, kv = g.put(c.dtype, g.normal(keys*width))
	}
	doutAt, dout := g.put(c.dtype, g.normal(queries*c.heads*c.dim))
	bytes := func(n int) uint64 { return uint64(c.dtype.Bytes(n)) }
	out := g.alloc(c.dtype.Bytes(queries * c.heads * c.dim))
	dq := g.alloc(c.dtype.Bytes(queries * width))
	dkv := dq
	if extra > 0 {
		dkv = g.alloc(c.dtype.Bytes(keys * width))
	}
	var starts []float64
	var startsAt uint64
	if c.documents > 0 {
		for range c.batch {
			first := 0
			for i := range c.keys {
				if i > 0 && g.rng.IntN(c.keys) < c.documents {
					first = i
				}
				starts = append(starts, float64(first))
			}
		}
		startsAt, _ = g.put(kernels.I32, starts)
	}
	w, d, o := int32(width), int32(c.dim), int32(c.heads*c.dim)
	k0, v0 := bytes(c.heads*c.dim), bytes((c.heads+c.kvHeads)*c.dim)
	a := attentionArgs{
		Q: qat, K: kvat + k0, V: kvat + v0, OutIn: out, Out: out, LSE: g.alloc(4 * queries * c.heads), Starts: startsAt,
		QRow: w, QHead: d, KRow: w, KHead: d, VRow: w, VHead: d, OutRow: o, OutHead: d,
		Batch: int32(c.batch), Queries: int32(c.queries), Keys: int32(c.keys), Heads: int32(c.heads), KVHeads: int32(c.kvHeads), Dim: d,
		Window: int32(c.window), Splits: 1, Scale: float32(1 / math.Sqrt(float64(c.dim))), Softcap: c.softcap,
	}
	if !a.tiled() || a.onHopper(c.card) != c.card.hopper {
		t.Fatal("not the kernels that this is to test")
	}
	calls := attentionForward(c.dtype, a, c.card)
	a.DOut, a.DOutRow, a.DOutHead = doutAt, o, d
	a.DQ, a.DK, a.DV, a.DQRow, a.DQHead, a.DKRow, a.DKHead, a.DVRow, a.DVHead = dq, dkv+k0, dkv+v0, w, d, w, d, w, d
	a.Delta = g.alloc(4 * queries * c.heads)
	a.Splits = int32(c.splits)
	if c.splits == 0 {
		a.Splits = int32(attentionSplits(a, c.card))
	}
	rope := ropeArgs{Half: int32(c.half), Len: d, Start: 3}
	var cos, sin, positions []float64
	if c.half > 0 {
		rope.Len = int32(c.keys)
		table := c.keys + 3
		rope.Cos, cos = g.put(kernels.F32, g.normal(table*c.half))
		rope.Sin, sin = g.put(kernels.F32, g.normal(table*c.half))
		for r := range queries {
			positions = append(positions, float64(3+r%c.keys))
			if c.positions {
				positions[r] = float64(g.rng.IntN(table))
			}
		}
		if c.positions {
			rope.Positions, _ = g.put(kernels.I32, positions)
		}
		if !a.rotatesBack(rope, c.card) {
			t.Fatal("not rotated by these kernels")
		}
		a.Cos, a.Sin, a.Positions, a.Half, a.Len, a.Start = rope.Cos, rope.Sin, rope.Positions, rope.Half, rope.Len, rope.Start
	}
	a.Part = g.alloc(int(a.Splits) * 2 * 4 * keys * c.kvHeads * c.dim)
	g.run(append(calls, attentionBackward(c.dtype, a, c.card)...)...)

	want := attentionOracle(c, q, kv, dout, starts)
	unit := map[kernels.DType]float64{kernels.BF16: 4e-3, kernels.F16: 1e-3}[c.dtype]
	turnBack(want.dq, c.heads, c.dim, c.half, cos, sin, positions)
	turnBack(want.dk, c.kvHeads, c.dim, c.half, cos, sin, positions)
	near(t, "out", g.get(c.dtype, out, queries*c.heads*c.dim), want.out, unit)
	near(t, "lse", g.get(kernels.F32, a.LSE, queries*c.heads), want.lse, 1e-6)
	pick := func(at uint64, rows, from, n int) []float64 {
		var x []float64
		all := g.get(c.dtype, at, rows*width)
		for r := range rows {
			x = append(x, all[r*width+from:r*width+from+n]...)
		}
		return x
	}
	gotQ := pick(dq, queries, 0, c.heads*c.dim)
	near(t, "dq", gotQ, want.dq, unit)
	near(t, "dk", pick(dkv, keys, c.heads*c.dim, c.kvHeads*c.dim), want.dk, unit)
	near(t, "dv", pick(dkv, keys, (c.heads+c.kvHeads)*c.dim, c.kvHeads*c.dim), want.dv, unit)
	for i, one := range want.alone {
		for _, x := range gotQ[i*c.heads*c.dim:][:c.heads*c.dim] {
			if one && x != 0 {
				t.Fatalf("query %d sees one key alone: its gradient is %v, want exactly 0", i, x)
			}
		}
	}
}

type attentionResult struct {
	out, lse, dq, dk, dv []float64
	alone                []bool // [batch*queries]: sees one key alone
}

// attentionOracle computes attention and its gradients pair by pair, in float64. q and kv are
// packed rows [q | k | v].
func attentionOracle(c attentionCase, q, kv, dout, starts []float64) attentionResult {
	width, group := (c.heads+2*c.kvHeads)*c.dim, c.heads/c.kvHeads
	r := attentionResult{
		out: make([]float64, len(dout)), lse: make([]float64, c.batch*c.heads*c.queries), dq: make([]float64, len(dout)),
		dk: make([]float64, c.batch*c.keys*c.kvHeads*c.dim), dv: make([]float64, c.batch*c.keys*c.kvHeads*c.dim), alone: make([]bool, c.batch*c.queries),
	}
	scale, cap := 1/math.Sqrt(float64(c.dim)), float64(c.softcap)
	for b := range c.batch {
		for h := range c.heads {
			for i := range c.queries {
				position := i + c.keys - c.queries
				first := 0
				if starts != nil {
					first = int(starts[b*c.keys+position])
				}
				if c.window > 0 {
					first = max(first, position-c.window+1)
				}
				row := b*c.queries + i
				x, y, do := q[row*width+h*c.dim:][:c.dim], r.out[(row*c.heads+h)*c.dim:][:c.dim], dout[(row*c.heads+h)*c.dim:][:c.dim]
				at := func(which, j int) []float64 { // key (0) or value (1) j
					return kv[(b*c.keys+j)*width+(c.heads+which*c.kvHeads+h/group)*c.dim:][:c.dim]
				}
				s, slope, top := make([]float64, position+1), make([]float64, position+1), math.Inf(-1)
				for j := first; j <= position; j++ {
					s[j], slope[j] = scale*dot(x, at(0, j)), 1
					if cap > 0 {
						t := math.Tanh(s[j] / cap)
						s[j], slope[j] = cap*t, 1-t*t
					}
					top = max(top, s[j])
				}
				var z float64
				for j := first; j <= position; j++ {
					z += math.Exp(s[j] - top)
				}
				lse := top + math.Log(z)
				r.lse[(b*c.heads+h)*c.queries+i] = lse
				for j := first; j <= position; j++ {
					axpy(y, math.Exp(s[j]-lse), at(1, j))
				}
				r.alone[row] = first == position
				delta := dot(y, do)
				for j := first; j <= position; j++ {
					p, kat := math.Exp(s[j]-lse), ((b*c.keys+j)*c.kvHeads+h/group)*c.dim
					ds := p * (dot(do, at(1, j)) - delta) * slope[j] * scale
					axpy(r.dq[(row*c.heads+h)*c.dim:][:c.dim], ds, at(0, j))
					axpy(r.dk[kat:][:c.dim], ds, x)
					axpy(r.dv[kat:][:c.dim], p, do)
				}
			}
		}
	}
	return r
}

// turnBack rotates rows of heads back.
func turnBack(x []float64, heads, dim, half int, cos, sin, positions []float64) {
	for r, position := range positions {
		for h := range heads {
			for i := range half {
				at, p := (r*heads+h)*dim+i, int(position)*half+i
				u, v := x[at], x[at+half]
				x[at], x[at+half] = u*cos[p]+v*sin[p], v*cos[p]-u*sin[p]
			}
		}
	}
}

func dot(x, y []float64) (z float64) {
	for i := range x {
		z += x[i] * y[i]
	}
	return z
}

// axpy is y += a x.
func axpy(y []float64, a float64, x []float64) {
	for i := range y {
		y[i] += a * x[i]
	}
}
