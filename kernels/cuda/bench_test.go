//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// bench times f, which makes so many floating-point operations and moves so many bytes at least.
func bench(b *testing.B, d kernels.Device, flops, bytes float64, f func()) {
	if !realGPU {
		b.Skip("times mean nothing without a GPU: SCU_TEST_DEVICE=cuda")
	}
	for range 3 {
		f()
	}
	if err := d.Sync(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		f()
	}
	if err := d.Sync(); err != nil {
		b.Fatal(err)
	}
	s := b.Elapsed().Seconds() / float64(b.N)
	if flops > 0 {
		b.ReportMetric(flops/s/1e12, "TFLOP/s")
	}
	if bytes > 0 {
		b.ReportMetric(bytes/s/1e9, "GB/s")
	}
}

// randomMat is a matrix of activations, or of another type, with values between -1 and 1.
func randomMat(b testing.TB, d kernels.Device, t kernels.DType, rows, cols int) kernels.Mat {
	x := make([]float32, 1_000_003) // a prime, so that rows differ
	for i := range x {
		x[i] = float32(math.Sin(float64(i) * 1.7))
	}
	single, err := d.Alloc(kernels.F32, len(x))
	must(b, err)
	d.WriteF32(single, x)
	m, err := d.Alloc(t, rows*cols)
	must(b, err)
	for at := 0; at < rows*cols; at += len(x) {
		n := min(len(x), rows*cols-at)
		d.Copy(kernels.Matrix(m.Slice(at, n), 1, n), kernels.Matrix(single.Slice(0, n), 1, n))
	}
	d.Free(single)
	return kernels.Matrix(m, rows, cols)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkMatMul is the frozen products of Llama 1B at 8,192 tokens and 8B at 4,096.
func BenchmarkMatMul(b *testing.B) {
	for _, p := range []kernels.DType{kernels.BF16, kernels.F32} {
		for _, s := range [][3]int{{8192, 3072, 2048}, {8192, 16384, 2048}, {8192, 2048, 8192}, {8192, 8192, 2048}, {1024, 3072, 2048}, {1024, 2048, 8192}, {4096, 6144, 4096}, {4096, 28672, 4096}, {8192, 16, 2048}} {
			for _, trans := range []bool{true, false} {
				if p == kernels.F32 && (!trans || s[1] > 4000) {
					continue
				}
				m, n, k := s[0], s[1], s[2]
				b.Run(fmt.Sprintf("%v/%dx%dx%d/trans=%v", p, m, n, k, trans), func(b *testing.B) {
					d := open(b, p)
					defer d.Close()
					x, w := randomMat(b, d, p, m, k), randomMat(b, d, p, n, k)
					if !trans {
						w = randomMat(b, d, p, k, n)
					}
					y := randomMat(b, d, p, m, n)
					bench(b, d, 2*float64(m)*float64(n)*float64(k), 0, func() {
						d.MatMul(kernels.MatMul{Dst: y, A: x, B: w, TransB: trans, Alpha: 1})
					})
				})
			}
		}
	}
}

// BenchmarkAttention is that of Llama 1B, 3B and 8B; backward with causal operations counted as 2.5 times forward.
func BenchmarkAttention(b *testing.B) {
	for _, c := range []struct{ batch, length, heads, kvHeads, dim int }{{8, 1024, 32, 8, 64}, {4, 1024, 24, 8, 128}, {2, 2048, 32, 8, 128}} {
		d := open(b, kernels.BF16)
		rows := c.batch * c.length
		matrix := func(heads int) kernels.Heads {
			return kernels.HeadsOf(randomMat(b, d, kernels.BF16, rows, heads*c.dim), c.dim)
		}
		lse, err := d.Alloc(kernels.F32, rows*c.heads)
		must(b, err)
		p := kernels.Attention{Batch: c.batch, QueryLen: c.length, KeyLen: c.length, Q: matrix(c.heads), K: matrix(c.kvHeads), V: matrix(c.kvHeads),
			Out: matrix(c.heads), LSE: lse, Scale: 1 / float32(math.Sqrt(float64(c.dim)))}
		g := kernels.AttentionGrad{Attention: p, DOut: matrix(c.heads), DQ: matrix(c.heads), DK: matrix(c.kvHeads), DV: matrix(c.kvHeads)}
		flops := 2 * float64(rows) * float64(c.length) * float64(c.heads*c.dim)
		name := fmt.Sprintf("%dx%d heads %d/%d of %d", c.batch, c.length, c.heads, c.kvHeads, c.dim)
		b.Run("forward/"+name, func(b *testing.B) { bench(b, d, flops, 0, func() { d.Attention(p) }) })
		b.Run("backward/"+name, func(b *testing.B) { bench(b, d, 2.5*flops, 0, func() { d.AttentionGrad(g) }) })
		d.Close()
	}
}

// BenchmarkElementwise is what reads and writes whole activations of Llama 1B at 8,192 tokens.
func BenchmarkElementwise(b *testing.B) {
	d := open(b, kernels.BF16)
	defer d.Close()
	const rows, cols, wide = 8192, 2048, 8192
	x, y, z := randomMat(b, d, kernels.BF16, rows, cols), randomMat(b, d, kernels.BF16, rows, cols), randomMat(b, d, kernels.BF16, rows, cols)
	gate, up, out := randomMat(b, d, kernels.BF16, rows, wide), randomMat(b, d, kernels.BF16, rows, wide), randomMat(b, d, kernels.BF16, rows, wide)
	rstd, err := d.Alloc(kernels.F32, rows)
	must(b, err)
	weight := randomMat(b, d, kernels.F32, 1, cols).Buf
	norm := kernels.Norm{Dst: y, X: x, Weight: weight, Rstd: rstd, Eps: 1e-5}
	b.Run("norm", func(b *testing.B) { bench(b, d, 0, 4*rows*cols, func() { d.Norm(norm) }) })
	b.Run("add and norm", func(b *testing.B) {
		bench(b, d, 0, 8*rows*cols, func() { d.AddNorm(kernels.AddNorm{Norm: norm, A: x, B: z}) })
	})
	b.Run("norm grad", func(b *testing.B) {
		bench(b, d, 0, 8*rows*cols, func() { d.NormGrad(kernels.NormGrad{Norm: norm, DX: z, DY: y, Accumulate: true}) })
	})
	b.Run("gate", func(b *testing.B) { bench(b, d, 0, 6*rows*wide, func() { d.Gate(kernels.SiLU, out, gate, up) }) })
	b.Run("gate grad", func(b *testing.B) {
		bench(b, d, 0, 10*rows*wide, func() { d.GateGrad(kernels.SiLU, gate, up, gate, up, out) })
	})
	cos, sin := randomMat(b, d, kernels.F32, 1024, 32), randomMat(b, d, kernels.F32, 1024, 32)
	b.Run("rope", func(b *testing.B) {
		bench(b, d, 0, 4*rows*cols, func() {
			d.RoPE(kernels.RoPE{X: kernels.HeadsOf(x, 64), Rows: rows, Rotation: kernels.Rotation{Len: 1024, Half: 32, Cos: cos.Buf, Sin: sin.Buf}})
		})
	})
}

// BenchmarkPin is what the host's memory takes to be had and given back: the table of embeddings of an 8B model, and what a
// block of it puts aside.
func BenchmarkPin(b *testing.B) {
	d := open(b, kernels.BF16).(*device)
	defer d.Close()
	for _, mib := range []int{224, 1002} {
		b.Run(fmt.Sprintf("%d MiB", mib), func(b *testing.B) {
			for b.Loop() {
				made, err := d.AllocHost(kernels.BF16, mib<<19)
				must(b, err)
				d.Free(made)
				must(b, d.Sync())
			}
		})
	}
}

// BenchmarkLaunch is what a launch costs the host, and a launch with a wait.
func BenchmarkLaunch(b *testing.B) {
	d := open(b, kernels.BF16)
	defer d.Close()
	x := randomMat(b, d, kernels.BF16, 1, 64)
	b.Run("queued", func(b *testing.B) { bench(b, d, 0, 0, func() { d.Add(x, x, x) }) })
	b.Run("waited for", func(b *testing.B) {
		bench(b, d, 0, 0, func() {
			d.Add(x, x, x)
			must(b, d.Sync())
		})
	})
}
