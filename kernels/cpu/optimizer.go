package cpu

import "github.com/shannon-control/scu/kernels"

func (d *device) Axpy(y kernels.Buffer, alpha kernels.Scalar, x kernels.Buffer) {
	dst := flat("Axpy", y)
	src, a := vector("Axpy", x, len(dst)), float32(*double("Axpy", alpha))
	d.pool.run(len(dst), 2*block, func(lo, hi int) { d.v.axpy(dst[lo:hi], src[lo:hi], a) })
}

func (d *device) AdamW(p kernels.AdamW) {
	w := flat("AdamW", p.Param)
	g, m, v := vector("AdamW", p.Grad, len(w)), vector("AdamW", p.M, len(w)), vector("AdamW", p.V, len(w))
	c, ok := adamCoefficients(p)
	if !ok {
		return
	}
	step := &adamStep{clip: float32(c.clip), decay: float32(c.decay), rate: float32(c.rate), rootBias2: float32(c.rootBias2), eps: float32(p.Eps),
		beta1: float32(p.Beta1), rest1: float32(1 - p.Beta1), beta2: float32(p.Beta2), rest2: float32(1 - p.Beta2)}
	d.pool.run(len(w), 2*block, func(lo, hi int) { d.v.adamW(w[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi], step) })
}
