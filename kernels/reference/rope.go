package reference

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) RoPE(p kernels.RoPE) {
	const op = "RoPE"
	x, cos, sin := d.heads(op, p.X, p.Rows), flat(op, p.Cos), flat(op, p.Sin)
	if p.Len < 1 || p.Start < 0 || p.Half < 0 || 2*p.Half > p.X.Dim {
		panic(fmt.Sprintf("reference: RoPE of %d rows of %d from position %d, half %d of heads of %d", p.Rows, p.Len, p.Start, p.Half, p.X.Dim))
	}
	for r := range p.Rows {
		position := p.Start + r%p.Len
		if p.Positions != nil {
			position = int(integers(op, p.Positions, p.Rows)[r])
		}
		at := position * p.Half
		if at < 0 || at+p.Half > min(len(cos), len(sin)) {
			panic(fmt.Sprintf("reference: RoPE at position %d, half %d, with tables of %d and %d elements", position, p.Half, len(cos), len(sin)))
		}
		for h := range x.n {
			v := append([]float64(nil), x.at(r, h)...)
			for i := range p.Half {
				c, s := cos[at+i], sin[at+i]
				if p.Inverse {
					s = -s
				}
				a, b := v[i], v[i+p.Half]
				v[i], v[i+p.Half] = a*c-b*s, b*c+a*s
			}
			x.put(r, h, v)
		}
	}
}
