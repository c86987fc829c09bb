package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// shapes are the products of LoRA training and generation. Weights are [out,in]
// (transB) unless named so; r is 16.
var gemmShapes = []struct {
	name           string
	m, n, k        int
	transA, transB bool
}{
	{"GPT2/768x768", 1024, 768, 768, false, false},
	{"GPT2/768x768T", 1024, 768, 768, false, true},
	{"GPT2/768x2304", 1024, 2304, 768, false, false},
	{"GPT2/768x3072", 1024, 3072, 768, false, false},
	{"GPT2/3072x768", 1024, 768, 3072, false, false},
	{"GPT2/3072x768T", 1024, 768, 3072, false, true},
	{"GPT2/head", 1024, 50257, 768, false, true},
	{"GPT2/headgrad", 1024, 768, 50257, false, false},
	{"Bookworm/192x192", 1024, 192, 192, false, true},
	{"Bookworm/192x64", 1024, 64, 192, false, true},
	{"Bookworm/192x512", 1024, 512, 192, false, true},
	{"Bookworm/512x192", 1024, 192, 512, false, true},
	{"Bookworm/192x4096", 1024, 4096, 192, false, true},
	{"Bookworm/4096/192x192", 4096, 192, 192, false, true},
	{"Bookworm/4096/192x512", 4096, 512, 192, false, true},
	{"LoRA/XA", 1024, 16, 768, false, true},
	{"LoRA/UB", 1024, 768, 16, false, true},
	{"LoRA/dYB", 1024, 16, 768, false, false},
	{"LoRA/dUX", 16, 768, 1024, true, false},
	{"LoRA/dYU", 768, 16, 1024, true, false},
	{"LoRA/dUA", 1024, 768, 16, false, false},
	{"LoRA/r8/192/XA", 1024, 8, 192, false, true},
	{"LoRA/r8/192/UB", 1024, 192, 8, false, true},
	{"Generate/m1", 1, 3072, 768, false, true},
	{"Generate/m1n", 1, 3072, 768, false, false},
	{"Generate/m8", 8, 3072, 768, false, true},
	{"Attention/QK", 64, 256, 64, false, true},
	{"Attention/PV", 64, 64, 256, false, false},
}

// BenchmarkGemm times every shape with one thread and with two.
func BenchmarkGemm(b *testing.B) {
	for _, s := range gemmShapes {
		g := randomShape(s.m, s.n, s.k, s.transA, s.transB)
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/threads=%d", s.name, threads), func(b *testing.B) {
				p := newPool(threads)
				defer p.close()
				timeGemm(b, &g, func() { p.gemm(g) })
			})
		}
	}
}

// BenchmarkGemmTypes times one product with each type of frozen weights.
func BenchmarkGemmTypes(b *testing.B) {
	for _, m := range []int{1, 64, 1024} {
		for _, t := range []string{"F32", "BF16", "F16", "NF4"} {
			b.Run(fmt.Sprintf("%s/m=%d", t, m), func(b *testing.B) {
				g := randomShape(m, 768, 768, false, true)
				switch n := len(g.b.f32); t {
				case "BF16":
					g.b = operand{bf16: make([]uint16, n)}
				case "F16":
					g.b = operand{f16: make([]uint16, n)}
				case "NF4":
					g.b = operand{nf4: make([]byte, n/2), absmax: make([]float32, n/64)}
				}
				p := newPool(1)
				defer p.close()
				timeGemm(b, &g, func() { p.gemm(g) })
			})
		}
	}
}

// BenchmarkGonum is what the portable library does with the same shapes.
func BenchmarkGonum(b *testing.B) {
	trans := map[bool]blas.Transpose{false: blas.NoTrans, true: blas.Trans}
	for _, s := range gemmShapes[:2] {
		b.Run(s.name, func(b *testing.B) {
			g := randomShape(s.m, s.n, s.k, s.transA, s.transB)
			timeGemm(b, &g, func() {
				gonum.Implementation{}.Sgemm(trans[g.transA], trans[g.transB], g.m, g.n, g.k, 1, g.a, g.lda, g.b.f32, g.ldb, 0, g.c, g.ldc)
			})
		})
	}
}

func randomShape(m, n, k int, transA, transB bool) gemmArgs {
	r := rand.New(rand.NewPCG(7, 8))
	lda, ldb := k, n
	if transA {
		lda = m
	}
	if transB {
		ldb = k
	}
	return gemmArgs{
		m: m, n: n, k: k, alpha: 1,
		a: randomFloats(r, m*k), lda: lda, transA: transA,
		b: operand{f32: randomFloats(r, k*n)}, ldb: ldb, transB: transB,
		c: make([]float32, m*n), ldc: n,
	}
}

func timeGemm(b *testing.B, g *gemmArgs, f func()) {
	f()
	for b.Loop() {
		f()
	}
	flops := 2 * float64(g.m) * float64(g.n) * float64(g.k)
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
