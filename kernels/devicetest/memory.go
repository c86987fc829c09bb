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
	doubles := e.alloc(kernels.F64, 3)
	e.d.WriteF64(doubles, []float64{1, math.Pi, -1e-300})
	e.checkExactF64("WriteF64 and ReadF64", e.values(doubles), []float64{1, math.Pi, -1e-300})
	if keys := e.alloc(kernels.U64, 2); keys.Len() != 2 || keys.DType() != kernels.U64 {
		e.t.Errorf("Alloc(U64, 2) gave %d %v", keys.Len(), keys.DType())
	}
	narrow := e.matrix("x", layouts[1], 5, 7, e.normal(35))
	x := make([]float32, narrow.Buf.Len())
	if err := e.d.ReadF32(x, narrow.Buf); err != nil {
		e.t.Errorf("ReadF32 of activations: %v", err)
	}
	e.checkExact("ReadF32 of activations", double(x), narrow.all)
	if free, total := e.d.Available(); free < 0 || total < free {
		e.t.Errorf("Available: %d bytes of %d", free, total)
	}
	large := kernels.Attention{Batch: 2, QueryLen: 512, KeyLen: 512, Q: kernels.Heads{N: 8, Dim: 64}, K: kernels.Heads{N: 2, Dim: 64}}
	if none, some := e.d.Scratch(), e.d.Scratch(large, kernels.AttentionGrad{Attention: large}); none < 0 || some < none {
		e.t.Errorf("Scratch: %d bytes from the start, %d for an attention", none, some)
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
					e.equal(shape(fmt.Sprintf("Copy %v to %v", from, to), size, l), e.values(buf), want)
				}
			}
		}
		e.free()
	}
}
