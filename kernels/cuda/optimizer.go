//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

type adamWArgs struct {
	param, grad, m, v, normSquared, rates   driver.Pointer
	n                                       int64
	maxNorm, beta1, beta2, eps, weightDecay float64
}

func (d *device) AdamW(p kernels.AdamW) {
	n := p.Param.Len()
	at := func(b kernels.Buffer) driver.Pointer { return flat("AdamW", b, kernels.F32, n) }
	a := adamWArgs{param: at(p.Param), grad: at(p.Grad), m: at(p.M), v: at(p.V),
		normSquared: scalar("AdamW", p.NormSquared, kernels.F64), rates: flat("AdamW", p.Rates, kernels.F64, 3),
		n: int64(n), maxNorm: p.MaxNorm, beta1: p.Beta1, beta2: p.Beta2, eps: p.Eps, weightDecay: p.WeightDecay}
	launch(d, "optimizer.adamw", line(n), threads, a)
}
