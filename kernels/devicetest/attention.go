package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

// packing is how q, k and v share a buffer.
type packing int

const (
	separate    packing = iota // three matrices
	sideBySide                 // [q | k | v], as Phi-3 and GPT-2 have them
	interleaved                // head by head [q k v], as GPT-NeoX has them
)

func attention(e *env) {
	for _, c := range []struct {
		batch, queries, keys, heads, kvHeads, dim int
		softcap                                   float32
		window                                    int
		pack                                      packing
		packed                                    bool // rows of several segments
	}{
		{batch: 1, queries: 1, keys: 1, heads: 1, kvHeads: 1, dim: 1},
		{batch: 2, queries: 3, keys: 3, heads: 2, kvHeads: 1, dim: 5},
		{batch: 2, queries: 17, keys: 17, heads: 3, kvHeads: 3, dim: 8, pack: interleaved},
		{batch: 1, queries: 33, keys: 33, heads: 4, kvHeads: 2, dim: 20, pack: sideBySide},
		{batch: 2, queries: 64, keys: 64, heads: 6, kvHeads: 2, dim: 32},
		{batch: 1, queries: 131, keys: 131, heads: 2, kvHeads: 1, dim: 64},
		{batch: 1, queries: 70, keys: 70, heads: 2, kvHeads: 2, dim: 16, window: 1},
		{batch: 2, queries: 140, keys: 140, heads: 2, kvHeads: 1, dim: 16, window: 37, pack: sideBySide},
		{batch: 1, queries: 40, keys: 40, heads: 2, kvHeads: 1, dim: 16, window: 1000},
		{batch: 1, queries: 70, keys: 70, heads: 2, kvHeads: 1, dim: 24, softcap: 5},
		{batch: 1, queries: 90, keys: 90, heads: 2, kvHeads: 1, dim: 16, softcap: 2, window: 30},
		{batch: 1, queries: 1, keys: 100, heads: 4, kvHeads: 2, dim: 32},
		{batch: 2, queries: 7, keys: 75, heads: 2, kvHeads: 1, dim: 16, window: 20},
		{batch: 1, queries: 3, keys: 9, heads: 2, kvHeads: 1, dim: 12, softcap: 3},
		{batch: 1, queries: 50, keys: 50, heads: 2, kvHeads: 1, dim: 80},
		{batch: 1, queries: 50, keys: 50, heads: 2, kvHeads: 1, dim: 96, packed: true},
		{batch: 1, queries: 70, keys: 70, heads: 2, kvHeads: 1, dim: 128, packed: true},
		{batch: 1, queries: 40, keys: 40, heads: 2, kvHeads: 2, dim: 256},
		{batch: 2, queries: 41, keys: 41, heads: 2, kvHeads: 1, dim: 256, packed: true, softcap: 4, window: 9},
		{batch: 1, queries: 2, keys: 2, heads: 1, kvHeads: 1, dim: 4, packed: true},
		{batch: 3, queries: 65, keys: 65, heads: 4, kvHeads: 2, dim: 16, packed: true},
		{batch: 2, queries: 300, keys: 300, heads: 4, kvHeads: 1, dim: 32, packed: true},
		{batch: 2, queries: 200, keys: 200, heads: 4, kvHeads: 2, dim: 64, packed: true, pack: sideBySide},
		{batch: 2, queries: 150, keys: 150, heads: 2, kvHeads: 1, dim: 24, packed: true, window: 11},
		{batch: 2, queries: 90, keys: 90, heads: 2, kvHeads: 1, dim: 20, packed: true, softcap: 3, window: 40},
		{batch: 2, queries: 9, keys: 80, heads: 4, kvHeads: 2, dim: 16, packed: true},
	} {
		p := kernels.Attention{Batch: c.batch, QueryLen: c.queries, KeyLen: c.keys,
			Scale: float32(1 / math.Sqrt(float64(c.dim))), Softcap: c.softcap, Window: c.window}
		name := fmt.Sprintf("Attention batch %d, %d of %d positions, heads %d/%d of %d, softcap %v, window %d, packing %d, segments %v",
			c.batch, c.queries, c.keys, c.heads, c.kvHeads, c.dim, c.softcap, c.window, c.pack, c.packed)
		var starts []int32
		if c.packed {
			starts = e.segments(c.batch, c.keys)
			p.Starts = e.ints(starts)
		}
		attend(e, name, layouts[1], p, starts, c.heads, c.kvHeads, c.dim, c.pack)
		if c.dim%8 == 0 { // as models have them, which some devices have kernels for
			attend(e, name+", aligned", layouts[0], p, starts, c.heads, c.kvHeads, c.dim, c.pack)
		}
		e.free()
	}
}

// segments cuts batch rows into segments of random lengths, and some of one position,
// and returns the first position of each position's own.
func (e *env) segments(batch, length int) (starts []int32) {
	for range batch {
		start := 0
		for i := range length {
			if i > 0 && e.rng.IntN(1+length/4) == 0 {
				start = i
			}
			starts = append(starts, int32(start))
		}
	}
	return starts
}

// headView is a Heads in a matrix, and the values of all its heads.
type headView struct {
	kernels.Heads
	m *matrix
}

// read returns the values [rows, N, Dim].
func (h headView) read(e *env) []float64 {
	all := h.m.read(e)
	x := make([]float64, 0, h.m.Rows*h.N*h.Dim)
	for r := range h.m.Rows {
		for n := range h.N {
			at := r*h.m.Cols + h.Off - h.m.Off + n*h.HeadStride
			x = append(x, all[at:at+h.Dim]...)
		}
	}
	return x
}

// qkv makes the three views, of random values or, for results, of NaN.
func (e *env) qkv(name string, l layout, pack packing, queries, keys, heads, kvHeads, dim int, results bool) (q, k, v headView) {
	fill := func(name string, rows, cols int) *matrix {
		if results {
			return e.dst(name, l, rows, cols)
		}
		return e.matrix(name, l, rows, cols, e.normal(rows*cols))
	}
	if pack == separate {
		of := func(m *matrix) headView { return headView{kernels.HeadsOf(m.Mat, dim), m} }
		return of(fill(name+"q", queries, heads*dim)), of(fill(name+"k", keys, kvHeads*dim)), of(fill(name+"v", keys, kvHeads*dim))
	}
	m := fill(name+"qkv", queries, (heads+2*kvHeads)*dim)
	view := func(first, n, step int) headView {
		return headView{kernels.Heads{Buf: m.Buf, Off: m.Off + first, N: n, Dim: dim, RowStride: m.Stride, HeadStride: step}, m}
	}
	if pack == interleaved {
		return view(0, heads, 3*dim), view(dim, heads, 3*dim), view(2*dim, heads, 3*dim)
	}
	return view(0, heads, dim), view(heads*dim, kvHeads, dim), view((heads+kvHeads)*dim, kvHeads, dim)
}

func attend(e *env, name string, l layout, p kernels.Attention, starts []int32, heads, kvHeads, dim int, pack packing) {
	queries, keys := p.Batch*p.QueryLen, p.Batch*p.KeyLen
	q, k, v := e.qkv("", l, pack, queries, keys, heads, kvHeads, dim, false)
	out := e.dst("Out", layouts[0], queries, heads*dim)
	p.Q, p.K, p.V, p.Out = q.Heads, k.Heads, v.Heads, kernels.HeadsOf(out.Mat, dim)
	p.LSE = e.alloc(kernels.F32, queries*heads)
	e.d.Attention(p)

	o := attentionOracle{Attention: p, starts: starts, q: q.read(e), k: k.read(e), v: v.read(e), n: heads, kn: kvHeads, dim: dim}
	if !e.recording {
		o.forward()
	}
	e.check(name, out.read(e), o.out, 1e-6)
	e.check(name+" LSE", e.values(p.LSE), o.lse, 1e-6)

	dout := e.matrix("DOut", l, queries, heads*dim, e.normal(queries*heads*dim))
	dq, dk, dv := e.qkv("d", l, pack, queries, keys, heads, kvHeads, dim, true)
	e.d.AttentionGrad(kernels.AttentionGrad{Attention: p, DOut: kernels.HeadsOf(dout.Mat, dim),
		DQ: dq.Heads, DK: dk.Heads, DV: dv.Heads})
	var term float64
	if !e.recording {
		term = o.backward(dout.x)
	}
	e.checkChain(name+" DQ", dq.read(e), o.dq, term, 2e-6)
	e.checkChain(name+" DK", dk.read(e), o.dk, term, 2e-6)
	e.checkChain(name+" DV", dv.read(e), o.dv, 0, 2e-6)
	rotatedBack(e, name, l, p, &o, dout, term, pack)
	for i, v := range dq.read(e) {
		if row := i / (heads * dim); o.first(row/p.QueryLen, row%p.QueryLen) == p.KeyLen-p.QueryLen+row%p.QueryLen && v != 0 {
			e.t.Errorf("%s DQ of query %d, which sees one key, is %v", name, row, v)
			break
		}
	}
	if p.Window == 1 || p.KeyLen == 1 {
		e.checkExact(name+" DQ of one key", dq.read(e), make([]float64, len(o.q)))
		e.checkExact(name+" DK of one key", dk.read(e), make([]float64, len(o.k)))
	}
	e.unchanged(q.m, k.m, v.m, dout)
}

// rotatedBack checks the gradients to queries and keys before they were rotated: half of each head, or, in documents,
// a quarter, where positions are given.
func rotatedBack(e *env, name string, l layout, p kernels.Attention, o *attentionOracle, dout *matrix, term float64, pack packing) {
	half := o.dim / 2
	if p.Starts != nil {
		half = o.dim / 4
	}
	if half == 0 || p.QueryLen != p.KeyLen {
		return
	}
	rows, positions := p.Batch*p.KeyLen, p.KeyLen+5
	angles := make([]float64, positions*half)
	cos, sin := make([]float64, len(angles)), make([]float64, len(angles))
	for i := range angles {
		angles[i] = 6 * e.rng.Float64()
		cos[i], sin[i] = math.Cos(angles[i]), math.Sin(angles[i])
	}
	r := kernels.Rotation{Len: p.KeyLen, Start: 5, Half: half, Cos: e.vector(cos), Sin: e.vector(sin)}
	at := make([]int32, rows)
	for i := range at {
		at[i] = int32(5 + i%p.KeyLen)
		if p.Starts != nil {
			at[i] = int32(e.rng.IntN(positions))
		}
	}
	if p.Starts != nil {
		r.Positions = e.ints(at)
	}
	dq, dk, dv := e.qkv("d", l, pack, rows, rows, o.n, o.kn, o.dim, true)
	e.d.AttentionGrad(kernels.AttentionGrad{Attention: p, DOut: kernels.HeadsOf(dout.Mat, o.dim), DQ: dq.Heads, DK: dk.Heads, DV: dv.Heads, Rotation: r})
	back := func(x []float64, heads int) []float64 {
		y := append([]float64(nil), x...)
		for i := 0; i < len(y); i += o.dim {
			for j := range half {
				t := int(at[i/(heads*o.dim)])*half + j
				a, b := y[i+j], y[i+j+half]
				y[i+j], y[i+j+half] = a*cos[t]+b*sin[t], b*cos[t]-a*sin[t]
			}
		}
		return y
	}
	name += fmt.Sprintf(", rotated back, half %d", half)
	e.checkChain(name+" DQ", dq.read(e), back(o.dq, o.n), term, 3e-6)
	e.checkChain(name+" DK", dk.read(e), back(o.dk, o.kn), term, 3e-6)
	e.checkChain(name+" DV", dv.read(e), o.dv, 0, 2e-6)
}

// attentionOracle computes attention with the whole matrix of probabilities:
// q, out [batch, queries, n, dim], k, v [batch, keys, kn, dim].
type attentionOracle struct {
	kernels.Attention
	starts       []int32 // or nil
	n, kn, dim   int
	q, k, v, out []float64
	lse          []float64
	prob, score  [][]float64 // of each (batch, head, query), over all keys
	dq, dk, dv   []float64
}

func (o *attentionOracle) forward() {
	o.out, o.lse, o.prob, o.score = make([]float64, len(o.q)), nil, nil, nil
	for b := range o.Batch {
		for h := range o.n {
			for i := range o.QueryLen {
				position := o.KeyLen - o.QueryLen + i
				score, prob := make([]float64, o.KeyLen), make([]float64, o.KeyLen)
				var sum float64
				for j := range score {
					if j > position || j < o.first(b, i) {
						continue
					}
					for l := range o.dim {
						score[j] += o.q[o.queryAt(b, i, h)+l] * o.k[o.keyAt(b, j, h)+l]
					}
					score[j] *= float64(o.Scale)
					if c := float64(o.Softcap); c > 0 {
						score[j] = c * math.Tanh(score[j]/c)
					}
					prob[j] = math.Exp(score[j])
					sum += prob[j]
				}
				for j := range prob {
					prob[j] /= sum
					for l := range o.dim {
						o.out[o.queryAt(b, i, h)+l] += prob[j] * o.v[o.keyAt(b, j, h)+l]
					}
				}
				o.lse = append(o.lse, math.Log(sum))
				o.prob, o.score = append(o.prob, prob), append(o.score, score)
			}
		}
	}
}

// first is the first key that a query sees.
func (o *attentionOracle) first(b, i int) (first int) {
	position := o.KeyLen - o.QueryLen + i
	if o.starts != nil {
		first = int(o.starts[b*o.KeyLen+position])
	}
	if o.Window > 0 {
		first = max(first, position-o.Window+1)
	}
	return first
}

func (o *attentionOracle) queryAt(b, i, h int) int { return ((b*o.QueryLen+i)*o.n + h) * o.dim }
func (o *attentionOracle) keyAt(b, j, h int) int {
	return ((b*o.KeyLen+j)*o.kn + h/(o.n/o.kn)) * o.dim
}

// backward sets dq, dk and dv for the gradient of sum(dout out), and returns the
// largest term of the differences that dq and dk sum up.
func (o *attentionOracle) backward(dout []float64) (term float64) {
	o.dq, o.dk, o.dv = make([]float64, len(o.q)), make([]float64, len(o.k)), make([]float64, len(o.v))
	for b := range o.Batch {
		for h := range o.n {
			for i := range o.QueryLen {
				row := (b*o.n+h)*o.QueryLen + i
				prob, score := o.prob[row], o.score[row]
				iq := o.queryAt(b, i, h)
				dprob := make([]float64, o.KeyLen)
				var mean float64
				for j := range dprob {
					for l := range o.dim {
						dprob[j] += dout[iq+l] * o.v[o.keyAt(b, j, h)+l]
						o.dv[o.keyAt(b, j, h)+l] += prob[j] * dout[iq+l]
					}
					mean += prob[j] * dprob[j]
				}
				for j := range dprob {
					dscore := prob[j] * (dprob[j] - mean) * float64(o.Scale)
					term = max(term, prob[j]*max(math.Abs(dprob[j]), math.Abs(mean))*float64(o.Scale))
					if c := float64(o.Softcap); c > 0 {
						dscore *= 1 - score[j]*score[j]/(c*c)
					}
					for l := range o.dim {
						o.dq[iq+l] += dscore * o.k[o.keyAt(b, j, h)+l]
						o.dk[o.keyAt(b, j, h)+l] += dscore * o.q[iq+l]
					}
				}
			}
		}
	}
	return term
}
