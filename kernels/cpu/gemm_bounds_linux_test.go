package cpu

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"unsafe"

	"github.com/shannon-control/scu/kernels"
)

// fence copies x to memory that ends where no access is allowed.
func fence[T any](t *testing.T, x []T) []T {
	if len(x) == 0 {
		return x
	}
	page := syscall.Getpagesize()
	size := len(x) * int(unsafe.Sizeof(x[0]))
	whole := ceilDiv(size, page) * page
	m, err := syscall.Mmap(-1, 0, whole+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(m); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mprotect(m[whole:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	y := unsafe.Slice((*T)(unsafe.Pointer(&m[whole-size])), len(x))
	copy(y, x)
	return y
}

// Nothing past the last element of a matrix is read or written: a violation
// crashes the test.
func TestGemmStaysWithinItsOperands(t *testing.T) {
	for _, kind := range gemmKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, 12))
			p := gemmPool(t, 1, kind)
			for range 150 {
				m, n, k := 1+r.IntN(60), 1+r.IntN(120), 1+r.IntN(80)
				if kind.amx {
					m, n, k = m+128, n+128, k+128
				}
				c := randomCase(r, m, n, k)
				g := c.gemmArgs
				g.a, g.bias, g.c = fence(t, c.a[:len(c.a)-extra(c.a, c.lda, c.transA, m, k)]), fence(t, c.bias), fence(t, c.c[:(m-1)*c.ldc+n])
				last := g.off + (k-1)*g.ldb + n
				if g.transB {
					last = g.off + (n-1)*g.ldb + k
				}
				switch c.dtype {
				case kernels.F32:
					g.b.f32 = fence(t, c.b.f32[:last])
				case kernels.BF16:
					g.b.bf16 = fence(t, c.b.bf16[:last])
				case kernels.F16:
					g.b.f16 = fence(t, c.b.f16[:last])
				case kernels.NF4:
					g.b.nf4 = fence(t, c.b.nf4[:ceilDiv(last, 2)])
					g.b.absmax = fence(t, c.b.absmax[:ceilDiv(last, kernels.NF4Block)])
				}
				p.gemm(g)
			}
		})
	}
}

// extra is how many elements follow op(a)'s last.
func extra(a []float32, stride int, trans bool, rows, cols int) int {
	if trans {
		rows, cols = cols, rows
	}
	return len(a) - (rows-1)*stride - cols
}
