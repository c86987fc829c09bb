package cpu

import "github.com/shannon-control/scu/kernels"

func (d *device) RoPE(p kernels.RoPE) {
	x := headsOf("RoPE", p.X, p.Rows)
	cos, sin, positions := ropeArgs(p)
	sign := float32(1)
	if p.Inverse {
		sign = -1
	}
	d.eachRow(p.Rows, x.n*x.dim, func(_ *scratch, r int) {
		at := positions(r) * p.Half
		c, s := cos[at:at+p.Half], sin[at:at+p.Half]
		for h := range x.n {
			v := x.at(r, h)
			d.v.rotate(v[:p.Half], v[p.Half:2*p.Half], c, s, sign)
		}
	})
}
