package cpu

import "github.com/shannon-control/scu/kernels"

func (d *device) Embed(p kernels.Embed) {
	y, t, rows := embedArgs(p)
	simd, from := &simds[d.level], t.operand()
	d.eachRow(y.rows, y.cols, func(s *scratch, i int) {
		at, to := t.off+int(rows[i])*t.stride, y.row(i)
		if !p.Add {
			simd.widen(to, from, at)
			d.v.scale(to, to, p.Scale)
			return
		}
		for j := 0; j < len(to); j += block {
			wide := s.a[:min(block, len(to)-j)]
			simd.widen(wide, from, at+j)
			d.v.axpy(to[j:j+len(wide)], wide, p.Scale)
		}
	})
}
