package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

func memory(e *env) {
	for _, t := range []kernels.DType{kernels.F32, kernels.F64} {
		for _, n := range []int{0, 1, 5, 100_003} {
			now, _ := e.d.Allocated()
			b := e.alloc(t, n)
			if after, peak := e.d.Allocated(); after < now+int64(t.Bytes(n)) || peak < after {
				e.t.Errorf("Alloc(%v, %d) raised the allocated bytes from %d to %d, peak %d", t, n, now, after, peak)
			}
			if b.DType() != t || b.Len() != n {
				e.t.Errorf("Alloc(%v, %d) gave %d %v", t, n, b.Len(), b.DType())
			}
			e.checkExact("a new buffer", e.values(b), make([]float64, n))
			x := e.normal(n)
			e.d.WriteF32(b, single(x))
			e.checkExact("Write and Read", e.values(b), x)
			if n > 4 {
				e.d.Zero(b.Slice(1, n-3))
				clear(x[1 : n-2])
				e.checkExact("Zero of a slice", e.values(b), x)
				e.d.WriteF32(b.Slice(2, 2).Slice(1, 1), []float32{7})
				x[3] = 7
				e.checkExact("Write into a slice of a slice", e.values(b), x)
			}
		}
	}
	if err := e.d.Sync(); err != nil {
		e.t.Errorf("Sync: %v", err)
	}
}

// copies converts between every pair of types that may be converted.
func copies(e *env) {
	for _, l := range layouts {
		for _, size := range sizes {
			rows, cols := size[0], size[1]
			for _, from := range weightTypes {
				src, x := e.weights(from, rows, cols)
				for _, to := range []kernels.DType{kernels.F32, kernels.BF16, kernels.F16} {
					stride := cols + l.gap
					buf := e.alloc(to, l.off+rows*stride+9)
					e.d.Copy(kernels.Mat{Buf: buf, Off: l.off, Rows: rows, Cols: cols, Stride: stride}, src)
					want := make([]float64, buf.Len())
					for i, v := range x {
						want[l.off+i/cols*stride+i%cols] = roundTo(to, v)
					}
					e.check(shape(fmt.Sprintf("Copy %v to %v", from, to), size, l), e.values(buf), want, 0)
				}
			}
		}
		e.free()
	}
}

func add(e *env) {
	for _, l := range layouts {
		for _, size := range sizes {
			rows, cols := size[0], size[1]
			name := shape("Add", size, l)
			a := e.matrix("a", layouts[0], rows, cols, e.normal(rows*cols))
			b := e.matrix("b", l, rows, cols, e.normal(rows*cols))
			want := each(rows*cols, func(i int) float64 { return a.x[i] + b.x[i] })
			dst := e.dst("dst", l, rows, cols)
			e.d.Add(dst.Mat, a.Mat, b.Mat)
			e.checkExact(name, dst.read(e), want)
			e.unchanged(a, b)
			e.d.Add(b.Mat, a.Mat, b.Mat)
			e.checkExact(name+" into b", b.read(e), want)
			e.d.Add(a.Mat, a.Mat, a.Mat)
			e.checkExact(name+" a to a", a.read(e), each(rows*cols, func(i int) float64 { return 2 * a.x[i] }))
		}
		e.free()
	}
}

func scale(e *env) {
	for _, l := range layouts {
		for _, size := range sizes {
			rows, cols := size[0], size[1]
			name := shape("Scale", size, l)
			x := e.matrix("src", l, rows, cols, e.normal(rows*cols))
			const alpha = -0.3
			want := each(rows*cols, func(i int) float64 { return float64(float32(alpha)) * x.x[i] })
			dst := e.dst("dst", layouts[0], rows, cols)
			e.d.Scale(dst.Mat, x.Mat, alpha)
			e.checkExact(name, dst.read(e), want)
			e.unchanged(x)
			e.d.Scale(x.Mat, x.Mat, alpha)
			e.checkExact(name+" in place", x.read(e), want)
		}
		e.free()
	}
}

func axpy(e *env) {
	for _, n := range []int{1, 7, 16, 33, 20_001} {
		x, y := e.normal(n), e.normal(n)
		bx, by := e.vector(x), e.vector(y)
		const alpha = 1e-3
		e.d.Axpy(by, alpha, bx)
		want := each(n, func(i int) float64 { return y[i] + alpha*x[i] })
		e.check(fmt.Sprintf("Axpy %d", n), e.values(by), want, 1e-7)
	}
}

func embed(e *env) {
	const vocab = 11
	for _, t := range weightTypes {
		for _, l := range layouts {
			for _, size := range sizes {
				rows, cols := size[0], size[1]
				name := shape(fmt.Sprintf("Embed %v", t), size, l)
				table, w := e.weights(t, vocab, cols)
				ids := make([]int32, rows)
				for i := range ids {
					ids[i] = int32(e.rng.IntN(vocab))
				}
				row := func(i int) float64 { return w[int(ids[i/cols])*cols+i%cols] }
				dst := e.dst("dst", l, rows, cols)
				e.d.Embed(dst.Mat, table, e.ints(ids), 1.5, false)
				e.check(name, dst.read(e), each(rows*cols, func(i int) float64 { return 1.5 * row(i) }), 1e-7)
				sum := e.matrix("dst", l, rows, cols, e.normal(rows*cols))
				e.d.Embed(sum.Mat, table, e.ints(ids), 1.5, true)
				e.check(name+" add", sum.read(e), each(rows*cols, func(i int) float64 { return sum.x[i] + 1.5*row(i) }), 2e-7)
			}
		}
		e.free()
	}
}

// dropout is exact: the mask is defined bit by bit.
func dropout(e *env) {
	for _, l := range layouts {
		for _, size := range append([][2]int{{64, 512}}, sizes...) {
			rows, cols := size[0], size[1]
			for _, p := range []float32{0, 0.05, 0.5, 1} {
				name := shape(fmt.Sprintf("Dropout %v", p), size, l)
				key := e.rng.Uint64()
				mask := kernels.NewDropoutMask(p, key)
				x := e.matrix("src", l, rows, cols, e.normal(rows*cols))
				dst := e.dst("dst", layouts[0], rows, cols)
				e.d.Dropout(dst.Mat, x.Mat, p, key, false)
				drop := func(i int) float64 {
					if !mask.Keep(i) {
						return 0
					}
					return x.x[i] * float64(mask.Scale)
				}
				e.checkExact(name, dst.read(e), each(rows*cols, drop))
				sum := e.matrix("dst", l, rows, cols, e.normal(rows*cols))
				e.d.Dropout(sum.Mat, x.Mat, p, key, true)
				e.check(name+" add", sum.read(e), each(rows*cols, func(i int) float64 { return sum.x[i] + drop(i) }), 2e-7)
				e.unchanged(x)
				e.d.Dropout(x.Mat, x.Mat, p, key, false)
				e.checkExact(name+" in place", x.read(e), each(rows*cols, drop))
			}
			e.free()
		}
	}
}

var activationNames = map[kernels.Activation]string{
	kernels.GELU: "GELU", kernels.GELUTanh: "GELUTanh", kernels.SiLU: "SiLU", kernels.ReLU: "ReLU",
}

// activate is the oracle: act(x), and act'(x) by its definition.
func activate(act kernels.Activation, x float64) float64 {
	switch act {
	case kernels.GELU:
		return x * math.Erfc(-x/math.Sqrt2) / 2
	case kernels.GELUTanh:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case kernels.SiLU:
		return x / (1 + math.Exp(-x))
	}
	return max(x, 0)
}

// slope is act'(x) by a central difference of fourth order, exact to 1e-11.
func slope(act kernels.Activation, x float64) float64 {
	if act == kernels.ReLU {
		if x > 0 {
			return 1
		}
		return 0
	}
	const h = 1e-3
	f := func(d float64) float64 { return activate(act, x+d) - activate(act, x-d) }
	return (8*f(h) - f(2*h)) / (12 * h)
}

func activations(e *env) {
	for act := kernels.GELU; act <= kernels.ReLU; act++ {
		for _, l := range layouts {
			for i, size := range append(sizes, sizes...) {
				reach := 1.0
				if i >= len(sizes) {
					reach = 50
				}
				rows, cols := size[0], size[1]
				n := rows * cols
				name := shape(activationNames[act], size, l)
				// Usual values to absolute errors; then both tails, zero among them,
				// to errors relative to the largest.
				values, term := e.normal(n), 1.0
				if reach > 1 {
					term = 0
					for i := range values {
						values[i] = e.round(values[i] * reach * float64(i%3))
					}
				}
				x, up, dy := e.matrix("x", l, rows, cols, values), e.matrix("up", l, rows, cols, e.normal(n)), e.matrix("dy", layouts[0], rows, cols, e.normal(n))
				a := func(i int) float64 { return activate(act, x.x[i]) }
				da := func(i int) float64 { return slope(act, x.x[i]) }

				dst := e.dst("dst", l, rows, cols)
				e.d.Activate(act, dst.Mat, x.Mat)
				e.checkTerms(name, dst.read(e), each(n, a), term, 2e-7)
				dst = e.dst("dst", l, rows, cols)
				e.d.Gate(act, dst.Mat, x.Mat, up.Mat)
				e.checkTerms(name+" gate", dst.read(e), each(n, func(i int) float64 { return a(i) * up.x[i] }), term, 3e-7)

				dx := e.dst("dx", l, rows, cols)
				e.d.ActivateGrad(act, dx.Mat, x.Mat, dy.Mat)
				grad := each(n, func(i int) float64 { return dy.x[i] * da(i) })
				e.checkTerms(name+" grad", dx.read(e), grad, term, 5e-7)

				wantGate := each(n, func(i int) float64 { return dy.x[i] * up.x[i] * da(i) })
				wantUp := each(n, func(i int) float64 { return dy.x[i] * a(i) })
				dgate, dup := e.dst("dgate", l, rows, cols), e.dst("dup", layouts[0], rows, cols)
				e.d.GateGrad(act, dgate.Mat, dup.Mat, x.Mat, up.Mat, dy.Mat)
				e.checkTerms(name+" dgate", dgate.read(e), wantGate, term, 5e-7)
				e.checkTerms(name+" dup", dup.read(e), wantUp, term, 3e-7)
				e.unchanged(x, up, dy)

				e.d.GateGrad(act, x.Mat, up.Mat, x.Mat, up.Mat, dy.Mat)
				e.checkTerms(name+" dgate over gate", x.read(e), wantGate, term, 5e-7)
				e.checkTerms(name+" dup over up", up.read(e), wantUp, term, 3e-7)
				fresh := e.matrix("x", l, rows, cols, x.x)
				e.d.ActivateGrad(act, dy.Mat, fresh.Mat, dy.Mat)
				e.checkTerms(name+" grad over dy", dy.read(e), grad, term, 5e-7)
			}
			e.free()
		}
	}
}
