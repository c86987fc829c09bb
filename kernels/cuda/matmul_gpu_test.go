//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// At the sizes of real models Hopper's products agree with the portable ones, which devicetest holds against float64 at
// small sizes, and are the same bytes each time.
func TestMatMulOfRealSizes(t *testing.T) {
	if !realGPU {
		t.Skip("minutes without a GPU: SCU_TEST_DEVICE=cuda")
	}
	for _, c := range []struct {
		t       kernels.DType
		m, n, k int
		ta, tb  bool
		f32     bool
		beta    float32
	}{
		{t: kernels.BF16, m: 2048, n: 3072, k: 2048, tb: true},
		{t: kernels.BF16, m: 4000, n: 2056, k: 8208},
		{t: kernels.BF16, m: 2048, n: 4096, k: 2064},
		{t: kernels.BF16, m: 1024, n: 16384, k: 2064, tb: true},
		{t: kernels.F16, m: 1000, n: 5000, k: 4096, beta: 1},
		{t: kernels.F16, m: 2048, n: 2000, k: 4096, ta: true, f32: true},
		{t: kernels.BF16, m: 520, n: 904, k: 12000, ta: true, tb: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			d := open(t, c.t).(*device)
			defer d.Close()
			if !d.card().hopper {
				t.Skip("no Hopper")
			}
			oriented := func(rows, cols int, transposed bool) view {
				if transposed {
					rows, cols = cols, rows
				}
				return viewOf("", randomMat(t, d, c.t, rows, cols))
			}
			dtype := c.t
			if c.f32 {
				dtype = kernels.F32
			}
			g := product{a: oriented(c.m, c.k, c.ta), b: oriented(c.k, c.n, c.tb), transA: c.ta, transB: c.tb, alpha: 0.5, beta: c.beta}
			result := func(of func(a matmulArgs) call) []float32 {
				dst := randomMat(t, d, dtype, c.m, c.n)
				v, fits := viewOf("", dst), true
				a := matmulArgs{M: int32(c.m), N: int32(c.n), K: int32(c.k), Alpha: g.alpha, Beta: g.beta, DstF32: bit(c.f32)}
				a.A, a.ARow = g.a.row(&fits)
				a.B, a.BRow = g.b.row(&fits)
				a.Dst, a.DstRow = v.row(&fits)
				d.run(of(a))
				x := make([]float32, c.m*c.n)
				must(t, d.ReadF32(x, dst.Buf))
				d.Free(dst.Buf)
				return x
			}
			hopper := func(a matmulArgs) call {
				if !matmulOnHopper(c.t, c.t, a, d.card()) {
					t.Fatal("not for this kernel")
				}
				return hopperMatMul(c.t, c.ta, c.tb, a, d.card())
			}
			want := result(func(a matmulArgs) call { return matmul(c.t, c.t, c.ta, c.tb, a) })
			got := result(hopper)
			var off, norm float64
			for i, w := range want {
				e := float64(got[i]) - float64(w)
				off, norm = off+e*e, norm+float64(w)*float64(w)
			}
			if e := math.Sqrt(off / norm); !(e < 1e-3) {
				t.Errorf("off by %.2g", e)
			}
			for range 5 {
				if !slices.Equal(result(hopper), got) {
					t.Fatal("other bytes")
				}
			}
		})
	}
}
