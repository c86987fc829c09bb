//go:build linux

package cuda

import (
	"fmt"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

func TestMatMul(t *testing.T) {
	for _, c := range []struct {
		t, b    kernels.DType
		ta, tb  bool
		m, n, k int
		f32     bool
		beta    float32
		bias    bool
		hopper  bool
		few     bool // multiprocessors
	}{
		{t: kernels.BF16, b: kernels.BF16, tb: true, m: 131, n: 140, k: 136, bias: true},
		{t: kernels.BF16, b: kernels.BF16, m: 5, n: 136, k: 200, beta: 1},
		{t: kernels.F16, b: kernels.F16, ta: true, m: 72, n: 40, k: 99, f32: true, beta: 0.5},
		{t: kernels.BF16, b: kernels.BF16, ta: true, tb: true, m: 72, n: 41, k: 96, f32: true},
		{t: kernels.BF16, b: kernels.F16, tb: true, m: 9, n: 33, k: 72},
		{t: kernels.F16, b: kernels.BF16, m: 9, n: 40, k: 72},
		{t: kernels.BF16, b: kernels.F32, tb: true, m: 20, n: 17, k: 168, f32: true},
		{t: kernels.F16, b: kernels.F32, m: 20, n: 48, k: 16},
		{t: kernels.BF16, b: kernels.NF4, tb: true, m: 20, n: 70, k: 160},
		{t: kernels.F16, b: kernels.NF4, m: 20, n: 136, k: 72},
		{t: kernels.BF16, b: kernels.BF16, tb: true, m: 300, n: 504, k: 264, bias: true, hopper: true, few: true},
		{t: kernels.BF16, b: kernels.BF16, m: 300, n: 488, k: 136, hopper: true, few: true},
		{t: kernels.BF16, b: kernels.BF16, m: 136, n: 328, k: 136, hopper: true},
		{t: kernels.BF16, b: kernels.BF16, tb: true, m: 264, n: 200, k: 520, hopper: true},
		{t: kernels.F16, b: kernels.F16, ta: true, m: 136, n: 248, k: 99, f32: true, beta: 0.5, hopper: true, few: true},
		{t: kernels.F16, b: kernels.F16, ta: true, tb: true, m: 264, n: 136, k: 64, hopper: true},
		{t: kernels.BF16, b: kernels.BF16, tb: true, m: 136, n: 136, k: 16, beta: 1, bias: true, hopper: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			g := newGPU(t)
			rowsColumns := func(rows, cols int, transposed bool) (int, int) {
				if transposed {
					return cols, rows
				}
				return rows, cols
			}
			ar, ac := rowsColumns(c.m, c.k, c.ta)
			br, bc := rowsColumns(c.k, c.n, c.tb)
			a := matmulArgs{M: int32(c.m), N: int32(c.n), K: int32(c.k), ARow: int32(ac), BRow: int32(bc), DstRow: int32(c.n), Alpha: 0.5, Beta: c.beta}
			var x, y, bias []float64
			a.A, x = g.put(c.t, g.normal(ar*ac))
			if c.b == kernels.NF4 {
				a.B, a.Absmax, y = g.quantized(br * bc)
			} else {
				a.B, y = g.put(c.b, g.normal(br*bc))
				if c.b != c.t { // what the product sees is rounded
					_, y = newGPU(t).put(c.t, y)
				}
			}
			if c.bias {
				a.Bias, bias = g.put(kernels.F32, g.normal(c.n))
			}
			dtype := c.t
			if c.f32 {
				dtype, a.DstF32 = kernels.F32, 1
			}
			before := make([]float64, c.m*c.n)
			if c.beta == 0 {
				a.Dst = g.alloc(dtype.Bytes(c.m * c.n))
			} else {
				a.Dst, before = g.put(dtype, g.normal(c.m*c.n))
			}
			on := card{multiprocessors: 132, hopper: c.hopper}
			if c.few {
				on.multiprocessors = 2
			}
			switch {
			case matmulOnHopper(c.t, c.b, a, on):
				g.run(hopperMatMul(c.t, c.ta, c.tb, a, on))
			case !c.hopper && matmulTiled(c.t, c.b, c.ta, c.tb, a):
				g.run(matmul(c.t, c.b, c.ta, c.tb, a))
			default:
				t.Fatal("not for this kernel")
			}

			want := make([]float64, c.m*c.n)
			at := func(v []float64, i, j, columns int, transposed bool) float64 {
				if transposed {
					return v[j*columns+i]
				}
				return v[i*columns+j]
			}
			for i := range c.m {
				for j := range c.n {
					var z float64
					for l := range c.k {
						z += at(x, i, l, ac, c.ta) * at(y, l, j, bc, c.tb)
					}
					want[i*c.n+j] = 0.5*z + float64(c.beta)*before[i*c.n+j]
					if c.bias {
						want[i*c.n+j] += bias[j]
					}
				}
			}
			limit := units[dtype]
			if c.b == kernels.NF4 {
				limit = units[c.t] // its values are rounded as they are read
			}
			near(t, "dst", g.get(dtype, a.Dst, c.m*c.n), want, limit)
		})
	}
}

// quantized puts n random NF4 elements and returns the addresses of codes and scales, and the values.
func (g *gpu) quantized(n int) (codes, absmax uint64, values []float64) {
	q := kernels.Quantized{Packed: make([]byte, (n+1)/2), N: n}
	for i := range q.Packed {
		q.Packed[i] = byte(g.rng.Uint32())
	}
	var scales []float64
	for range (n + 63) / 64 {
		scales = append(scales, 0.5+g.rng.Float64())
	}
	absmax, scales = g.put(kernels.F32, scales)
	for _, s := range scales {
		q.Absmax = append(q.Absmax, float32(s))
	}
	for i := range n {
		values = append(values, float64(q.At(i)))
	}
	codes = g.alloc(len(q.Packed))
	copy(g.memory[codes-base:], q.Packed)
	return codes, absmax, values
}
