package reference

import (
	"math"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) Axpy(y kernels.Buffer, alpha kernels.Scalar, x kernels.Buffer) {
	dst, a := flat("Axpy", y), *number("Axpy", alpha)
	for i, v := range vector("Axpy", x, len(dst)) {
		dst[i] = round(kernels.F32, dst[i]+a*v)
	}
}

func (d *device) AdamW(p kernels.AdamW) {
	const op = "AdamW"
	w := flat(op, p.Param)
	g, m, v := vector(op, p.Grad, len(w)), vector(op, p.M, len(w)), vector(op, p.V, len(w))
	rates := elements(op, p.Rates, 3, kernels.F64).x
	learningRate, bias1, bias2 := rates[0], rates[1], rates[2]
	norm, clip := math.Sqrt(*number(op, p.NormSquared)), 1.0
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return
	}
	if p.MaxNorm > 0 {
		clip = min(1, p.MaxNorm/(norm+1e-6))
	}
	for i := range w {
		grad := g[i] * clip
		m1 := p.Beta1*m[i] + (1-p.Beta1)*grad
		v1 := p.Beta2*v[i] + (1-p.Beta2)*grad*grad
		m[i], v[i] = round(kernels.F32, m1), round(kernels.F32, v1)
		w[i] = round(kernels.F32, w[i]*(1-learningRate*p.WeightDecay)-learningRate*(m1/bias1)/(math.Sqrt(v1/bias2)+p.Eps))
	}
}
