package devicetest

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

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
				e.d.Embed(kernels.Embed{Dst: dst.Mat, Table: table, IDs: e.ints(ids), Scale: 1.5})
				e.check(name, dst.read(e), each(rows*cols, func(i int) float64 { return 1.5 * row(i) }), 1e-7)
				sum := e.matrix("dst", l, rows, cols, e.normal(rows*cols))
				e.d.Embed(kernels.Embed{Dst: sum.Mat, Table: table, IDs: e.ints(ids), Scale: 1.5, Add: true})
				e.check(name+" add", sum.read(e), each(rows*cols, func(i int) float64 { return sum.x[i] + 1.5*row(i) }), 2e-7)
			}
		}
		e.free()
	}
}
