//go:build linux

package cuda

import (
	"fmt"
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// units are the relative errors that rounding a result to a type leaves, and some.
var units = map[kernels.DType]float64{kernels.BF16: 4e-3, kernels.F16: 1e-3, kernels.F32: 2e-6}

func TestCrossEntropy(t *testing.T) {
	for _, c := range []struct {
		dtype   kernels.DType
		v       int
		softcap float64
		alone   bool // the loss without a gradient
		cluster int  // of blocks that hold a row; 0: none
	}{
		{dtype: kernels.BF16, v: 5003},
		{dtype: kernels.F16, v: 4100, softcap: 3},
		{dtype: kernels.BF16, v: 500, alone: true},
		{dtype: kernels.F16, v: 70001},
		{dtype: kernels.BF16, v: 32000, cluster: 1},
		{dtype: kernels.F16, v: 70001, softcap: 3, cluster: 2},
		{dtype: kernels.BF16, v: 128256, cluster: 4},
		{dtype: kernels.BF16, v: 151934, alone: true, cluster: 8},
	} {
		t.Run(fmt.Sprintf("%v, %d, softcap %v, alone %v, cluster %d", c.dtype, c.v, c.softcap, c.alone, c.cluster), func(t *testing.T) {
			t.Parallel()
			g := newGPU(t)
			targets := []float64{float64(c.v - 1), -1, 0, 77, float64(c.v / 2)}
			if c.cluster > 1 { // a row takes seconds
				targets = targets[3:]
			}
			rows, stride, scale := len(targets), (c.v+7)/8*8, 0.25
			logits := g.normal(rows * stride)
			for i := range logits {
				logits[i] *= 3
			}
			x, logits := g.put(c.dtype, logits)
			a := lossArgs{X: x, DX: x, Loss: g.alloc(4 * rows), Rows: int32(rows), V: int32(c.v), XRow: int32(stride), DXRow: int32(stride), Softcap: float32(c.softcap)}
			a.Target, _ = g.put(kernels.I32, targets)
			if !c.alone {
				a.Scale, _ = g.put(kernels.F64, []float64{scale})
			}
			made := crossEntropy(c.dtype, a, card{hopper: c.cluster > 0})
			if made.cluster != c.cluster {
				t.Fatalf("a cluster of %d", made.cluster)
			}
			g.run(made)

			losses, grad := make([]float64, rows), make([]float64, rows*stride)
			for i, target := range targets {
				y, slope, z := make([]float64, c.v), make([]float64, c.v), 0.0
				for j := range y {
					y[j], slope[j] = logits[i*stride+j], 1
					if c.softcap > 0 {
						u := math.Tanh(y[j] / c.softcap)
						y[j], slope[j] = c.softcap*u, 1-u*u
					}
					z += math.Exp(y[j])
				}
				if target < 0 {
					continue
				}
				losses[i] = math.Log(z) - y[int(target)]
				for j := range y {
					p := math.Exp(y[j]) / z
					if j == int(target) {
						p--
					}
					grad[i*stride+j] = scale * p * slope[j]
				}
			}
			near(t, "loss", g.get(kernels.F32, a.Loss, rows), losses, 1e-6)
			if c.alone {
				near(t, "logits", g.get(c.dtype, x, rows*stride), logits, 0)
			} else {
				got := g.get(c.dtype, a.DX, rows*stride)
				for i := range rows {
					clear(got[i*stride+c.v : (i+1)*stride]) // padding
				}
				near(t, "gradient", got, grad, max(units[c.dtype], 1e-5))
			}
		})
	}
}

func TestNorm(t *testing.T) {
	for _, c := range []struct {
		dtype                                      kernels.DType
		cols                                       int
		layer, residual, offset, plain, accumulate bool
	}{
		{dtype: kernels.BF16, cols: 2048, residual: true, accumulate: true},
		{dtype: kernels.BF16, cols: 3080, residual: true, offset: true},
		{dtype: kernels.F16, cols: 1000, layer: true, residual: true, accumulate: true},
		{dtype: kernels.F32, cols: 68, layer: true},
		{dtype: kernels.F32, cols: 1028, accumulate: true, plain: true},
		{dtype: kernels.BF16, cols: 8},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			g := newGPU(t)
			const rows, eps = 3, 1e-5
			n, unit := rows*c.cols, units[c.dtype]
			cols := int32(c.cols)
			a := normArgs{Rows: rows, Cols: cols, XRow: cols, ResidualRow: cols, DYRow: cols, SumRow: cols, YRow: cols, DXRow: cols, Eps: eps, Rstd: g.alloc(4 * rows)}
			var x, residual, weight, bias []float64
			a.X, x = g.put(c.dtype, g.normal(n))
			weight, bias = make([]float64, c.cols), make([]float64, c.cols)
			if !c.plain {
				a.Weight, weight = g.put(kernels.F32, g.normal(c.cols))
			}
			scale := make([]float64, c.cols)
			for j, w := range weight {
				scale[j] = w
				if c.offset || c.plain {
					scale[j]++
				}
			}
			if c.offset || c.plain {
				a.Offset = 1
			}
			if c.layer {
				a.Bias, bias = g.put(kernels.F32, g.normal(c.cols))
				a.Mean = g.alloc(4 * rows)
			}
			a.Y = g.alloc(c.dtype.Bytes(n))
			sum := x
			if c.residual {
				a.Residual, residual = g.put(c.dtype, g.normal(n))
				a.Sum = a.Residual // in place
				for i := range residual {
					residual[i] += x[i]
				}
				_, sum = newGPU(t).put(c.dtype, residual) // rounded
			}
			if !a.fast(c.dtype) {
				t.Fatal("not for these kernels")
			}
			forward := norm(c.dtype, a)
			b := a
			if c.residual {
				b.X = a.Sum
			}
			var dy, dx []float64
			b.DY, dy = g.put(c.dtype, g.normal(n))
			b.DX, dx = g.put(c.dtype, g.normal(n))
			if c.accumulate {
				b.Accumulate = 1
			} else {
				clear(dx)
			}
			g.run(forward, normGrad(c.dtype, b))

			y, grad := make([]float64, n), make([]float64, n)
			for r := range rows {
				s, var2, mean := sum[r*c.cols:][:c.cols], 0.0, 0.0
				if c.layer {
					for _, v := range s {
						mean += v / float64(c.cols)
					}
				}
				for _, v := range s {
					var2 += (v - mean) * (v - mean) / float64(c.cols)
				}
				rstd := 1 / math.Sqrt(var2+eps)
				var mg, mgh float64
				for j, v := range s {
					h, d := (v-mean)*rstd, dy[r*c.cols+j]*scale[j]
					y[r*c.cols+j] = h*scale[j] + bias[j]
					mgh += d * h / float64(c.cols)
					if c.layer {
						mg += d / float64(c.cols)
					}
				}
				for j, v := range s {
					grad[r*c.cols+j] = dx[r*c.cols+j] + rstd*(dy[r*c.cols+j]*scale[j]-mg-(v-mean)*rstd*mgh)
				}
			}
			if c.residual {
				near(t, "sum", g.get(c.dtype, a.Sum, n), sum, 0)
			}
			near(t, "y", g.get(c.dtype, a.Y, n), y, unit)
			near(t, "dx", g.get(c.dtype, b.DX, n), grad, unit)
		})
	}
}

func TestRoPE(t *testing.T) {
	for _, c := range []struct {
		dtype     kernels.DType
		half, dim int
		positions bool
		start     int
		inverse   bool
	}{
		{dtype: kernels.BF16, half: 32, dim: 64},
		{dtype: kernels.F16, half: 8, dim: 80, start: 3, inverse: true},
		{dtype: kernels.F32, half: 12, dim: 32, positions: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			g := newGPU(t)
			const rows, length, heads, table = 10, 5, 3, 16
			stride := heads*c.dim + 16
			a := ropeArgs{Rows: rows, Len: length, Start: int32(c.start), Heads: heads, Half: int32(c.half), XRow: int32(stride), XHead: int32(c.dim), Sign: 1}
			var x, cos, sin, positions []float64
			a.X, x = g.put(c.dtype, g.normal(rows*stride))
			a.Cos, cos = g.put(kernels.F32, g.normal(table*c.half))
			a.Sin, sin = g.put(kernels.F32, g.normal(table*c.half))
			for r := range rows {
				positions = append(positions, float64(c.start+r%length))
				if c.positions {
					positions[r] = float64(g.rng.IntN(table))
				}
			}
			if c.positions {
				a.Positions, _ = g.put(kernels.I32, positions)
			}
			if c.inverse {
				a.Sign = -1
			}
			if !a.fast(c.dtype) {
				t.Fatal("not for this kernel")
			}
			g.run(rope(c.dtype, a))
			for r := range rows {
				for h := range heads {
					for i := range c.half {
						u, v, p := r*stride+h*c.dim+i, r*stride+h*c.dim+i+c.half, int(positions[r])*c.half+i
						s := sin[p] * float64(a.Sign)
						x[u], x[v] = x[u]*cos[p]-x[v]*s, x[v]*cos[p]+x[u]*s
					}
				}
			}
			near(t, "x", g.get(c.dtype, a.X, rows*stride), x, units[c.dtype])
		})
	}
}

func TestGate(t *testing.T) {
	functions := map[kernels.Activation]func(x float64) (y, slope float64){
		kernels.GELU: func(x float64) (float64, float64) {
			phi := 0.5 * (1 + math.Erf(x/math.Sqrt2))
			return x * phi, phi + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
		},
		kernels.GELUTanh: func(x float64) (float64, float64) {
			k := math.Sqrt(2 / math.Pi)
			u := math.Tanh(k * (x + 0.044715*x*x*x))
			return 0.5 * x * (1 + u), 0.5*(1+u) + 0.5*x*(1-u*u)*k*(1+3*0.044715*x*x)
		},
		kernels.SiLU: func(x float64) (float64, float64) {
			s := 1 / (1 + math.Exp(-x))
			return x * s, s * (1 + x*(1-s))
		},
		kernels.ReLU: func(x float64) (float64, float64) {
			if x > 0 {
				return x, 1
			}
			return 0, 0
		},
	}
	for act, f := range functions {
		for _, dtype := range []kernels.DType{kernels.BF16, kernels.F16, kernels.F32} {
			t.Run(fmt.Sprintf("%v, %v", act, dtype), func(t *testing.T) {
				t.Parallel()
				const rows, cols = 3, 520
				unit := max(units[dtype], 3e-6)
				// two GPUs, since the gradient takes the place of what it is made of
				for _, up := range []bool{false, true} {
					g := newGPU(t)
					x, xs := g.put(dtype, g.normal(rows*2*cols)) // [gate | up]
					dy, dys := g.put(dtype, g.normal(rows*cols))
					y := g.alloc(dtype.Bytes(rows * cols))
					a := gateArgs{Gate: x, Up: x + uint64(dtype.Bytes(cols)), DY: dy, Y: y, GateRow: 2 * cols, UpRow: 2 * cols, DYRow: cols, YRow: cols,
						DGateRow: 2 * cols, DUpRow: 2 * cols, Cols: cols, Activation: int32(act)}
					a.DGate, a.DUp = a.Gate, a.Up
					if !a.fast(dtype) {
						t.Fatal("not for this kernel")
					}
					name := "activate"
					if up {
						name = "gate"
					}
					g.run(gate(name, dtype, rows, a), gate(name+"_grad", dtype, rows, a))
					want := make([]float64, rows*cols)
					for r := range rows {
						for j := range cols {
							i, u := r*2*cols+j, 1.0
							value, slope := f(xs[i])
							if up {
								u = xs[i+cols]
								xs[i+cols] = dys[r*cols+j] * value
							}
							want[r*cols+j] = value * u
							xs[i] = dys[r*cols+j] * slope * u
						}
					}
					near(t, name, g.get(dtype, y, rows*cols), want, unit)
					near(t, name+"_grad", g.get(dtype, x, rows*2*cols), xs, unit)
				}
			})
		}
	}
}

func TestAddBias(t *testing.T) {
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F16} {
		t.Run(dtype.String(), func(t *testing.T) {
			t.Parallel()
			const rows, cols, stride = 3, 2056, 2064 // more than a block's 2,048
			g := newGPU(t)
			var a biasArgs
			var x, bias []float64
			a.Dst, x = g.put(dtype, g.normal(rows*stride))
			a.Bias, bias = g.put(kernels.F32, g.normal(cols))
			a.Row, a.Cols = stride, cols
			if !a.fast(dtype) {
				t.Fatal("not for this kernel")
			}
			g.run(addBias(dtype, rows, a))
			for r := range rows {
				for c := range cols {
					x[r*stride+c] += bias[c]
				}
			}
			near(t, "x", g.get(dtype, a.Dst, rows*stride), x, units[dtype])
		})
	}
}

// A matrix that begins within a buffer, with rows farther apart than they are long, on both
// sides.
func TestDequantize(t *testing.T) {
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F16} {
		t.Run(dtype.String(), func(t *testing.T) {
			t.Parallel()
			const rows, cols, first, from, to = 3, 2056, 72, 2112, 2072
			g := newGPU(t)
			codes, scales, values := g.quantized(first + rows*from)
			a := dequantizeArgs{Codes: codes, Scales: scales, First: first, SrcRow: from, DstRow: to, Cols: cols}
			var want []float64
			a.Dst, want = g.put(dtype, g.normal(rows*to))
			if !a.fast() {
				t.Fatal("not for this kernel")
			}
			g.run(dequantize(dtype, rows, a))
			for r := range rows {
				copy(want[r*to:r*to+cols], values[first+r*from:])
			}
			near(t, "x", g.get(dtype, a.Dst, rows*to), want, units[dtype])
		})
	}
}
