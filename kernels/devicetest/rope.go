package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

func rope(e *env) {
	for _, c := range []struct{ batch, length, start, heads, dim, half int }{
		{1, 1, 0, 1, 2, 1}, {2, 3, 4, 2, 6, 3}, {1, 9, 0, 3, 20, 8}, {2, 33, 0, 6, 32, 16}, {3, 40, 7, 2, 64, 32}, {1, 5, 2, 4, 48, 9},
	} {
		for variant := range 4 {
			inverse, given := variant&1 != 0, variant&2 != 0
			name := fmt.Sprintf("RoPE batch %d, %d from %d, %d heads of %d, half %d, inverse %v, positions given %v",
				c.batch, c.length, c.start, c.heads, c.dim, c.half, inverse, given)
			positions := c.start + c.length + 3
			cos, sin := make([]float64, positions*c.half), make([]float64, positions*c.half)
			for i := range cos {
				angle := float64(i/c.half) * math.Pow(10000, -float64(i%c.half)/float64(c.half))
				cos[i], sin[i] = math.Cos(angle), math.Sin(angle)
			}
			rows := c.batch * c.length
			// The first of two groups of heads: what follows must stay.
			m := e.matrix("X", layouts[1], rows, 2*c.heads*c.dim, e.normal(2*rows*c.heads*c.dim))
			p := kernels.RoPE{X: kernels.HeadsOf(m.Columns(0, c.heads*c.dim), c.dim), Rows: rows, Inverse: inverse,
				Rotation: kernels.Rotation{Len: c.length, Start: c.start, Half: c.half, Cos: e.vector(cos), Sin: e.vector(sin)}}
			at := make([]int32, rows)
			for r := range at {
				at[r] = int32(c.start + r%c.length)
				if given {
					at[r] = int32(e.rng.IntN(positions))
				}
			}
			if given {
				p.Positions = e.ints(at)
			}
			e.d.RoPE(p)
			want := append([]float64(nil), m.x...)
			for r := range rows {
				for h := range c.heads {
					for i := range c.half {
						first := r*m.Cols + h*c.dim + i
						a, b := m.x[first], m.x[first+c.half]
						t := int(at[r])*c.half + i
						s := sin[t]
						if inverse {
							s = -s
						}
						want[first], want[first+c.half] = a*cos[t]-b*s, b*cos[t]+a*s
					}
				}
			}
			e.check(name, m.read(e), want, 2e-7)
		}
		e.free()
	}
}
