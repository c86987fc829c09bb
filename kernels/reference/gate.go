package reference

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) Activate(act kernels.Activation, dst, x kernels.Mat) {
	y := d.acts("Activate", dst)
	in := d.acts("Activate", x).want("Activate", y.rows, y.cols)
	y.fill(func(i, j int) float64 { a, _ := activation(act, in.row(i)[j]); return a })
}

func (d *device) ActivateGrad(act kernels.Activation, dx, x, dy kernels.Mat) {
	gx := d.acts("ActivateGrad", dx)
	in, gy := d.acts("ActivateGrad", x).want("ActivateGrad", gx.rows, gx.cols), d.acts("ActivateGrad", dy).want("ActivateGrad", gx.rows, gx.cols)
	gx.fill(func(i, j int) float64 { _, da := activation(act, in.row(i)[j]); return gy.row(i)[j] * da })
}

func (d *device) Gate(act kernels.Activation, dst, gate, up kernels.Mat) {
	y := d.acts("Gate", dst)
	g, u := d.acts("Gate", gate).want("Gate", y.rows, y.cols), d.acts("Gate", up).want("Gate", y.rows, y.cols)
	y.fill(func(i, j int) float64 { a, _ := activation(act, g.row(i)[j]); return a * u.row(i)[j] })
}

func (d *device) GateGrad(act kernels.Activation, dgate, dup, gate, up, dy kernels.Mat) {
	const op = "GateGrad"
	dg := d.acts(op, dgate)
	view := func(m kernels.Mat) mat { return d.acts(op, m).want(op, dg.rows, dg.cols) }
	du, g, u, gy := view(dup), view(gate), view(up), view(dy)
	for i := range dg.rows {
		for j := range dg.cols {
			a, da := activation(act, g.row(i)[j])
			y, x := gy.row(i)[j], u.row(i)[j]
			dg.set(i, j, y*x*da)
			du.set(i, j, y*a)
		}
	}
}

// activation returns act(x) and act'(x).
func activation(act kernels.Activation, x float64) (a, da float64) {
	switch act {
	case kernels.GELU:
		phi := 0.5 * math.Erfc(-x/math.Sqrt2)
		return x * phi, phi + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	case kernels.GELUTanh: // (1 + tanh u)/2 = sigmoid(2u)
		const c = 0.044715
		k := 2 * math.Sqrt(2/math.Pi)
		s := 1 / (1 + math.Exp(-k*(x+c*x*x*x)))
		return x * s, s + x*s*(1-s)*k*(1+3*c*x*x)
	case kernels.SiLU:
		s := 1 / (1 + math.Exp(-x))
		return x * s, s + x*s*(1-s)
	case kernels.ReLU:
		if x > 0 {
			return x, 1
		}
		return 0, 0
	}
	panic(fmt.Sprintf("reference: no activation %d", act))
}

func (d *device) ActivatedLinear(p kernels.ActivatedLinear)         { p.Compose(d) }
func (d *device) ActivatedLinearGrad(p kernels.ActivatedLinearGrad) { p.Compose(d) }
