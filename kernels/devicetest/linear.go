package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// linear checks Linear and LinearGrad against products composed in float64: layers
// with and without adapters side by side, as a decoder has them.
func linear(e *env) {
	for _, c := range []struct {
		rows, in int
		parts    []linearCase
		drop     float32
		add, noX bool // DX accumulates; DX isn't wanted
	}{
		{rows: 1, in: 1, parts: []linearCase{{out: 1, rank: 1, weights: kernels.F32}}},
		{rows: 5, in: 7, parts: []linearCase{{out: 9, weights: kernels.BF16, bias: true, adds: true}}, add: true},
		{rows: 33, in: 40, parts: []linearCase{{out: 24, rank: 4, weights: kernels.F32, conv: true, bias: true}}, drop: 0.1},
		{rows: 17, in: 33, parts: []linearCase{{out: 12, rank: 3, weights: kernels.BF16}, {out: 31, weights: kernels.BF16}, {out: 5, rank: 8, weights: kernels.BF16, bias: true}}, drop: 0.5, add: true},
		{rows: 70, in: 64, parts: []linearCase{{out: 96, rank: 16, weights: kernels.F16}, {out: 32, rank: 16, weights: kernels.F16}, {out: 32, rank: 16, weights: kernels.F16}}},
		{rows: 64, in: 128, parts: []linearCase{{out: 80, rank: 128, weights: kernels.NF4}, {out: 80, rank: 16, weights: kernels.NF4}}, drop: 0.05, noX: true},
		{rows: 31, in: 48, parts: []linearCase{{out: 56, rank: 8, weights: kernels.BF16, adds: true}}, drop: 0.1},
		{rows: 130, in: 96, parts: []linearCase{{out: 48, rank: 64, weights: kernels.NF4, conv: true}}, drop: 1},
		{rows: 9, in: 16, parts: []linearCase{{out: 16, weights: kernels.F32}, {out: 24, rank: 2, weights: kernels.F32}}, noX: true},
	} {
		for _, l := range layouts {
			name := fmt.Sprintf("Linear of %dx%d, %+v, dropout %v, at %d+%d", c.rows, c.in, c.parts, c.drop, l.off, l.gap)
			mask, definition := e.mask(c.drop)
			linears(e, name, l, c.rows, c.in, c.parts, mask, definition, c.add, c.noX, 0)
			e.free()
		}
	}
	// With room for the adapters' share beside what the product reads.
	const spare = 64
	for _, c := range []struct {
		rows, in int
		parts    []linearCase
		drop     float32
		add, noX bool
	}{
		{rows: 70, in: 64, parts: []linearCase{{out: 48, rank: 16}, {out: 16, rank: 8}, {out: 24, rank: 16, bias: true}}},
		{rows: 33, in: 96, parts: []linearCase{{out: 64}, {out: 72, rank: 32}}, add: true},
		{rows: 33, in: 96, parts: []linearCase{{out: 64, bias: true}, {out: 72, rank: 64, bias: true}}},
		{rows: 19, in: 64, parts: []linearCase{{out: 40, rank: 16, weights: kernels.NF4, bias: true}, {out: 16, rank: 8, weights: kernels.NF4, bias: true}, {out: 16, rank: 8, weights: kernels.NF4, bias: true}}},
		{rows: 40, in: 72, parts: []linearCase{{out: 40, rank: 8, conv: true, bias: true}}},
		{rows: 40, in: 72, parts: []linearCase{{out: 40, rank: 8, conv: true, bias: true, adds: true}}},
		{rows: 50, in: 64, parts: []linearCase{{out: 128, rank: 16, adds: true}}},
		{rows: 34, in: 64, parts: []linearCase{{out: 48, rank: 16, bias: true}, {out: 16, rank: 16}}, drop: 0.5, add: true},
		{rows: 17, in: 64, parts: []linearCase{{out: 32, rank: 48}, {out: 24, rank: 16}}, noX: true},
		{rows: 20, in: 32, parts: []linearCase{{out: 32, rank: 48}, {out: 24, rank: 32}}},
		{rows: 5, in: 9, parts: []linearCase{{out: 7, rank: 3}, {out: 5}}},
		{rows: 19, in: 64, parts: []linearCase{{out: 40, rank: 16, weights: kernels.NF4}, {out: 16, rank: 8, weights: kernels.NF4}}, add: true},
		{rows: 12, in: 72, parts: []linearCase{{out: 24, weights: kernels.NF4}, {out: 9, rank: 8, weights: kernels.NF4}}},
	} {
		name := fmt.Sprintf("Linear of %dx%d, %+v, dropout %v, with %d spare columns", c.rows, c.in, c.parts, c.drop, spare)
		mask, definition := e.mask(c.drop)
		linears(e, name, layout{0, spare}, c.rows, c.in, c.parts, mask, definition, c.add, c.noX, spare)
		e.free()
	}
	// Logits with an adapter.
	mask, definition := e.mask(0)
	linears(e, "Linear into F32", layouts[0], 32, 64, []linearCase{{out: 48, rank: 16, weights: kernels.BF16, f32: true}}, mask, definition, false, false, 0)
	e.free()
}

type linearCase struct {
	out, rank  int // rank 0: no adapter
	weights    kernels.DType
	conv, bias bool
	adds       bool // a residual
	f32        bool // the result, as logits are
}

// linearLayer is a layer on the device, and its values.
type linearLayer struct {
	linearCase
	kernels.LinearPartGrad
	w, bias, a, b []float64
	dst, dy       *matrix
	residual      *matrix
	da, db        *matrix
}

func linears(e *env, name string, l layout, rows, in int, parts []linearCase, mask kernels.Mask, definition random.Mask, add, noX bool, spare int) {
	x := e.matrix("X", l, rows, in, e.normal(rows*in))
	x.free = spare > 0
	ranks, outs := 0, 0
	for _, c := range parts {
		ranks, outs = ranks+c.rank, outs+c.out
	}
	var dst, dy, w *matrix // of all parts, with spare columns
	if spare > 0 {
		dst, dy = e.dst("Dst", l, rows, outs), e.matrix("DY", l, rows, outs, e.normal(rows*outs))
		r, c := outs, in
		if parts[0].conv {
			r, c = in, outs
		}
		w = e.matrix("W", l, r+spare, c, e.normal((r+spare)*c))
	}
	first := 0                      // output of a part
	u := e.dst("U", l, rows, ranks) // of all parts, side by side
	forward, backward := kernels.Linear{X: x.Mat, Mask: mask, Spare: spare}, kernels.LinearGrad{X: x.Mat, Mask: mask, Accumulate: add, Spare: spare}
	var layers []*linearLayer
	at := 0
	for _, c := range parts {
		y := &linearLayer{linearCase: c}
		if spare > 0 {
			y.dst, y.dy = dst.part(first, c.out), dy.part(first, c.out)
		} else {
			result := e.d.Activations()
			if c.f32 {
				result = kernels.F32
			}
			y.dst, y.dy = e.dstOf(result, "Dst", l, rows, c.out), e.matrix("DY", l, rows, c.out, e.normal(rows*c.out))
		}
		y.Dst, y.DY, y.Conv1D = y.dst.Mat, y.dy.Mat, c.conv
		if spare > 0 && c.weights == kernels.NF4 {
			y.W, y.w = e.quantized(c.out, in)
		} else if spare > 0 && c.conv {
			y.W, y.w = w.RowRange(0, in), transposed(w.x[:in*c.out], in, c.out)
		} else if spare > 0 {
			y.W, y.w = w.RowRange(first, c.out), w.x[first*in:(first+c.out)*in]
		} else if c.conv {
			y.W, y.w = e.weights(c.weights, in, c.out)
			y.w = transposed(y.w, in, c.out)
		} else {
			y.W, y.w = e.weights(c.weights, c.out, in)
		}
		if c.bias {
			y.bias = e.single32(c.out)
			y.Bias = e.vector(y.bias)
		}
		if c.adds {
			y.residual = e.matrix("Residual", l, rows, c.out, e.normal(rows*c.out))
			y.Residual = y.residual.Mat
		}
		if c.rank > 0 {
			a, b := e.matrixOf(kernels.F32, "A", layouts[0], c.rank, in, e.single32(c.rank*in)), e.matrixOf(kernels.F32, "B", layouts[0], c.out, c.rank, e.single32(c.out*c.rank))
			y.a, y.b = a.x, b.x
			y.LoRA = kernels.LoRA{A: a.Mat, B: b.Mat, U: u.Columns(at, c.rank), Scale: 0.5}
			y.da, y.db = e.matrixOf(kernels.F32, "DA", layouts[0], c.rank, in, e.single32(c.rank*in)), e.matrixOf(kernels.F32, "DB", layouts[0], c.out, c.rank, e.single32(c.out*c.rank))
			y.DA, y.DB = y.da.Mat, y.db.Mat
			at += c.rank
		}
		first += c.out
		layers = append(layers, y)
		forward.Parts, backward.Parts = append(forward.Parts, y.LinearPart), append(backward.Parts, y.LinearPartGrad)
	}

	seen := dropped(definition, x.x)
	e.d.Linear(forward)
	for i, y := range layers {
		want, term := product64(x.x, transposed(y.w, y.out, in), rows, y.out, in), 0.0
		if y.rank > 0 {
			low := product64(seen, transposed(y.a, y.rank, in), rows, y.rank, in)
			share := product64(low, transposed(y.b, y.out, y.rank), rows, y.out, y.rank)
			for j := range want {
				want[j] += 0.5 * share[j]
			}
			term = largest(want, share)
		}
		for j := range want {
			if y.bias != nil {
				want[j] += y.bias[j%y.out]
			}
			if y.residual != nil {
				want[j] += y.residual.x[j]
			}
		}
		e.checkChain(fmt.Sprintf("%s: layer %d", name, i), y.dst.read(e), want, term, 2e-6)
	}
	u.read(e)

	start := each(rows*in, func(int) float64 { return math.NaN() })
	if add {
		start = e.normal(rows * in)
	}
	dx := e.matrix("DX", l, rows, in, start)
	if !noX {
		backward.DX = dx.Mat
	}
	e.d.LinearGrad(backward)
	wantX, throughMask := make([]float64, rows*in), make([]float64, rows*in)
	if add {
		copy(wantX, dx.x)
	}
	term := 0.0
	for i, y := range layers {
		plus(wantX, product64(y.dy.x, y.w, rows, in, y.out))
		term = largest(wantX, throughMask) + term
		if y.rank == 0 {
			continue
		}
		low := product64(seen, transposed(y.a, y.rank, in), rows, y.rank, in)
		du := product64(y.dy.x, y.b, rows, y.rank, y.out)
		for j := range du {
			du[j] *= 0.5
		}
		db := product64(transposed(y.dy.x, rows, y.out), low, y.out, y.rank, rows)
		for j := range db {
			db[j] = y.db.x[j] + 0.5*db[j]
		}
		da := product64(transposed(du, rows, y.rank), seen, y.rank, in, rows)
		plus(da, y.da.x)
		plus(throughMask, product64(du, y.a, rows, in, y.rank))
		// DU and U are activations between two products: their rounding is in the terms.
		e.checkChain(fmt.Sprintf("%s: DB %d", name, i), y.db.read(e), db, 0, 2e-6)
		e.checkChain(fmt.Sprintf("%s: DA %d", name, i), y.da.read(e), da, 0, 2e-6)
	}
	plus(wantX, dropped(definition, throughMask))
	term += largest(throughMask)
	if noX {
		dx.x = start
		e.untouched(name+": DX that isn't wanted", dx)
	} else {
		e.checkChain(name+": DX", dx.read(e), wantX, term, 2e-6)
	}
	e.unchanged(x)
	for _, y := range layers {
		e.unchanged(y.dy)
		if y.residual != nil {
			e.unchanged(y.residual)
		}
	}
}

// product64 is a [m,k] times b [k,n].
func product64(a, b []float64, m, n, k int) []float64 {
	c := make([]float64, m*n)
	for i := range m {
		for p := range k {
			for j := range n {
				c[i*n+j] += a[i*k+p] * b[p*n+j]
			}
		}
	}
	return c
}

// transposed is the transpose of x [rows,cols].
func transposed(x []float64, rows, cols int) []float64 {
	return each(rows*cols, func(i int) float64 { return x[i%rows*cols+i/rows] })
}

func plus(to, x []float64) {
	for i, v := range x {
		to[i] += v
	}
}

// largest is the largest magnitude.
func largest(xs ...[]float64) (top float64) {
	for _, x := range xs {
		for _, v := range x {
			top = max(top, math.Abs(v))
		}
	}
	return top
}
