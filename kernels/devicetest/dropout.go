package devicetest

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// mask is a mask under a random key, and its definition; p 0 has no key at all.
func (e *env) mask(p float32) (kernels.Mask, random.Mask) {
	if p == 0 {
		return kernels.Mask{}, random.NewMask(0, 0)
	}
	keys, module := []uint64{e.rng.Uint64(), e.rng.Uint64(), e.rng.Uint64()}, e.rng.Uint64N(1000)
	b := e.alloc(kernels.U64, len(keys))
	e.d.WriteU64(b, keys)
	return kernels.Mask{P: p, Key: kernels.Scalar{Buf: b, I: 1}, Module: module}, random.NewMask(p, random.Key(keys[1], module))
}

// dropped is x behind a mask.
func dropped(m random.Mask, x []float64) []float64 {
	return each(len(x), func(i int) float64 {
		if !m.Keeps(i) {
			return 0
		}
		return x[i] * float64(m.Scale)
	})
}

// dropout is exact: the mask is defined bit by bit.
func dropout(e *env) {
	for _, l := range layouts {
		for _, size := range append([][2]int{{64, 512}}, sizes...) {
			rows, cols := size[0], size[1]
			for _, p := range []float32{0, 0.05, 0.5, 1} {
				name := shape(fmt.Sprintf("Dropout %v", p), size, l)
				mask, definition := e.mask(p)
				x := e.matrix("src", l, rows, cols, e.normal(rows*cols))
				want := dropped(definition, x.x)
				dst := e.dst("dst", layouts[0], rows, cols)
				e.d.Dropout(kernels.Dropout{Dst: dst.Mat, Src: x.Mat, Mask: mask})
				e.checkExact(name, dst.read(e), want)
				sum := e.matrix("dst", l, rows, cols, e.normal(rows*cols))
				e.d.Dropout(kernels.Dropout{Dst: sum.Mat, Src: x.Mat, Mask: mask, Add: true})
				e.check(name+" add", sum.read(e), each(rows*cols, func(i int) float64 { return sum.x[i] + want[i] }), 2e-7)
				e.unchanged(x)
				e.d.Dropout(kernels.Dropout{Dst: x.Mat, Src: x.Mat, Mask: mask})
				e.checkExact(name+" in place", x.read(e), want)
			}
			e.free()
		}
	}
}
