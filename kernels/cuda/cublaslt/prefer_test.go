//go:build linux

package cublaslt

import (
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// The library's first proposal makes a product, but for tiles that are known to be slow and wide products of x W^T.
func TestPreferred(t *testing.T) {
	bf16 := func(m, n, k int, transB bool) Shape {
		return Shape{M: m, N: n, K: k, TransB: transB, Type: kernels.BF16}
	}
	f32 := bf16(8192, 16384, 2080, true)
	f32.Type = kernels.F32
	for _, c := range []struct {
		name  string
		s     Shape
		tiles []int
		want  int
	}{
		{"the first", bf16(8192, 3072, 2096, true), []int{23, 24, 248}, 0},
		{"but a slow one", bf16(4096, 5120, 3120, true), []int{248, 23, 24}, 1},
		{"unless it is the only one", bf16(4096, 5120, 3120, true), []int{248}, 0},
		{"wide", bf16(8192, 16384, 2080, true), []int{209, 248, 23, 201, 197}, 3},
		{"wide, without the best", bf16(8192, 16384, 2080, true), []int{209, 248, 197}, 2},
		{"wide and low", bf16(1024, 128256, 2048, true), []int{248, 24, 201, 197, 184}, 3},
		{"wide with neither", bf16(8192, 16384, 2080, true), []int{248, 24}, 1},
		{"wide the other way", bf16(8192, 16384, 2064, false), []int{23, 201}, 0},
		{"wide in F32", f32, []int{23, 201}, 0},
		{"short", bf16(16384, 3072, 792, false), []int{209, 24, 29}, 2},
		{"short and wide", bf16(16384, 50264, 768, true), []int{209, 201, 29}, 1},
		{"short and low", bf16(1024, 3072, 792, false), []int{209, 24, 29}, 0},
	} {
		if got := preferred(c.s, c.tiles); got != c.want {
			t.Errorf("%s: proposal %d, want %d", c.name, got, c.want)
		}
	}
}
