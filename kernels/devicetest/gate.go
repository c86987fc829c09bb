package devicetest

import (
	"math"

	"github.com/shannon-control/scu/kernels"
)

var activationNames = map[kernels.Activation]string{
	kernels.GELU: "GELU", kernels.GELUTanh: "GELUTanh", kernels.SiLU: "SiLU", kernels.ReLU: "ReLU",
}

// activate is the oracle: act(x), and act'(x) by its definition.
func activate(act kernels.Activation, x float64) float64 {
	switch act {
	case kernels.GELU:
		return x * math.Erfc(-x/math.Sqrt2) / 2
	case kernels.GELUTanh:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case kernels.SiLU:
		return x / (1 + math.Exp(-x))
	}
	return max(x, 0)
}

// slope is act'(x) by a central difference of fourth order, exact to 1e-11.
func slope(act kernels.Activation, x float64) float64 {
	if act == kernels.ReLU {
		if x > 0 {
			return 1
		}
		return 0
	}
	const h = 1e-3
	f := func(d float64) float64 { return activate(act, x+d) - activate(act, x-d) }
	return (8*f(h) - f(2*h)) / (12 * h)
}

func activations(e *env) {
	for act := kernels.GELU; act <= kernels.ReLU; act++ {
		for _, l := range layouts {
			for i, size := range append(sizes, sizes...) {
				reach := 1.0
				if i >= len(sizes) {
					reach = 50
				}
				rows, cols := size[0], size[1]
				n := rows * cols
				name := shape(activationNames[act], size, l)
				// Usual values to absolute errors; then both tails, zero among them,
				// to errors relative to the largest.
				values, term := e.normal(n), 1.0
				if reach > 1 {
					term = 0
					for i := range values {
						values[i] = e.round(values[i] * reach * float64(i%3))
					}
				}
				x, up, dy := e.matrix("x", l, rows, cols, values), e.matrix("up", l, rows, cols, e.normal(n)), e.matrix("dy", layouts[0], rows, cols, e.normal(n))
				a := func(i int) float64 { return activate(act, x.x[i]) }
				da := func(i int) float64 { return slope(act, x.x[i]) }

				dst := e.dst("dst", l, rows, cols)
				e.d.Activate(act, dst.Mat, x.Mat)
				e.checkTerms(name, dst.read(e), each(n, a), term, 2e-7)
				dst = e.dst("dst", l, rows, cols)
				e.d.Gate(act, dst.Mat, x.Mat, up.Mat)
				e.checkTerms(name+" gate", dst.read(e), each(n, func(i int) float64 { return a(i) * up.x[i] }), term, 3e-7)

				dx := e.dst("dx", l, rows, cols)
				e.d.ActivateGrad(act, dx.Mat, x.Mat, dy.Mat)
				grad := each(n, func(i int) float64 { return dy.x[i] * da(i) })
				e.checkTerms(name+" grad", dx.read(e), grad, term, 5e-7)

				wantGate := each(n, func(i int) float64 { return dy.x[i] * up.x[i] * da(i) })
				wantUp := each(n, func(i int) float64 { return dy.x[i] * a(i) })
				dgate, dup := e.dst("dgate", l, rows, cols), e.dst("dup", layouts[0], rows, cols)
				e.d.GateGrad(act, dgate.Mat, dup.Mat, x.Mat, up.Mat, dy.Mat)
				e.checkTerms(name+" dgate", dgate.read(e), wantGate, term, 5e-7)
				e.checkTerms(name+" dup", dup.read(e), wantUp, term, 3e-7)
				e.unchanged(x, up, dy)

				e.d.GateGrad(act, x.Mat, up.Mat, x.Mat, up.Mat, dy.Mat)
				e.checkTerms(name+" dgate over gate", x.read(e), wantGate, term, 5e-7)
				e.checkTerms(name+" dup over up", up.read(e), wantUp, term, 3e-7)
				fresh := e.matrix("x", l, rows, cols, x.x)
				e.d.ActivateGrad(act, dy.Mat, fresh.Mat, dy.Mat)
				e.checkTerms(name+" grad over dy", dy.read(e), grad, term, 5e-7)
			}
			e.free()
		}
	}
}
