package cpu

// Feed-forward activations and gates. The loops give act(x) and act'(x) at once,
// into scratch memory where they are not the result.

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) activation(act kernels.Activation) func(a, da, x []float32) {
	if int(act) >= len(d.v.activation) {
		panic(fmt.Sprintf("cpu: no activation %d", act))
	}
	return d.v.activation[act]
}

// eachBlock calls f with parts of at most block elements of the rows of
// matrices that are flattened together.
func (d *device) eachBlock(rows, cols int, f func(s *scratch, i, lo, hi int)) {
	d.eachRow(rows, cols, func(s *scratch, i int) {
		for lo := 0; lo < cols; lo += block {
			f(s, i, lo, min(lo+block, cols))
		}
	})
}

func (d *device) Activate(act kernels.Activation, dst, x kernels.Mat) {
	y := floats("Activate", dst)
	in, apply := shaped("Activate", x, y.rows, y.cols), d.activation(act)
	flatten(&y, &in)
	d.eachBlock(y.rows, y.cols, func(s *scratch, i, lo, hi int) {
		to := y.part(i, lo, hi)
		apply(to, s.b[:], in.part(i, lo, hi))
	})
}

func (d *device) ActivateGrad(act kernels.Activation, dx, x, dy kernels.Mat) {
	gx := floats("ActivateGrad", dx)
	in, gy := shaped("ActivateGrad", x, gx.rows, gx.cols), shaped("ActivateGrad", dy, gx.rows, gx.cols)
	apply := d.activation(act)
	flatten(&gx, &in, &gy)
	d.eachBlock(gx.rows, gx.cols, func(s *scratch, i, lo, hi int) {
		to := gx.part(i, lo, hi)
		apply(s.a[:len(to)], s.b[:], in.part(i, lo, hi))
		d.v.multiply(to, gy.part(i, lo, hi), s.b[:])
	})
}

func (d *device) Gate(act kernels.Activation, dst, gate, up kernels.Mat) {
	y := floats("Gate", dst)
	g, u := shaped("Gate", gate, y.rows, y.cols), shaped("Gate", up, y.rows, y.cols)
	apply := d.activation(act)
	flatten(&y, &g, &u)
	d.eachBlock(y.rows, y.cols, func(s *scratch, i, lo, hi int) {
		to := y.part(i, lo, hi)
		apply(s.a[:len(to)], s.b[:], g.part(i, lo, hi))
		d.v.multiply(to, s.a[:], u.part(i, lo, hi))
	})
}

func (d *device) GateGrad(act kernels.Activation, dgate, dup, gate, up, dy kernels.Mat) {
	dg := floats("GateGrad", dgate)
	du, g := shaped("GateGrad", dup, dg.rows, dg.cols), shaped("GateGrad", gate, dg.rows, dg.cols)
	u, gy := shaped("GateGrad", up, dg.rows, dg.cols), shaped("GateGrad", dy, dg.rows, dg.cols)
	apply := d.activation(act)
	flatten(&dg, &du, &g, &u, &gy)
	d.eachBlock(dg.rows, dg.cols, func(s *scratch, i, lo, hi int) {
		toGate, toUp, grad := dg.part(i, lo, hi), du.part(i, lo, hi), gy.part(i, lo, hi)
		n := len(toGate)
		apply(s.a[:n], s.b[:], g.part(i, lo, hi))
		d.v.multiply(s.b[:n], s.b[:], grad)
		d.v.multiply(toGate, s.b[:], u.part(i, lo, hi)) // up is read before dup, which may be it
		d.v.multiply(toUp, s.a[:], grad)
	})
}

func (d *device) ActivatedLinear(p kernels.ActivatedLinear)         { p.Compose(d) }
func (d *device) ActivatedLinearGrad(p kernels.ActivatedLinearGrad) { p.Compose(d) }
