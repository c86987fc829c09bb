// Package optim is AdamW over an adapter's flat parameters, and the learning
// rate's schedule.
package optim

import (
	"github.com/shannon-control/scu/kernels"
)

// PyTorch's defaults; weight decay is 0, since the regulariser does that work.
const (
	beta1, beta2 = 0.9, 0.999
	epsilon      = 1e-8
)

// AdamW (arXiv:1711.05101) holds the moments of a parameter buffer.
type AdamW struct {
	M, V  kernels.Buffer // F32, as long as the parameters
	Steps int            // made so far
	dev   kernels.Device
}

// NewAdamW makes an optimiser for n parameters.
func NewAdamW(dev kernels.Device, n int) (*AdamW, error) {
	m, err := dev.Alloc(kernels.F32, n)
	if err != nil {
		return nil, err
	}
	v, err := dev.Alloc(kernels.F32, n)
	if err != nil {
		dev.Free(m)
		return nil, err
	}
	return &AdamW{M: m, V: v, dev: dev}, nil
}

// Close frees the moments.
func (o *AdamW) Close() {
	o.dev.Free(o.M)
	o.dev.Free(o.V)
}

// Step updates param by grad, whose squared norm is in normSquared (F64 [1]);
// the gradient is clipped to maxNorm, unless that is 0.
func (o *AdamW) Step(param, grad, normSquared kernels.Buffer, maxNorm, learningRate float64) {
	o.Steps++
	o.dev.AdamW(kernels.AdamW{
		Param: param, Grad: grad, M: o.M, V: o.V, NormSquared: normSquared, MaxNorm: maxNorm,
		LearningRate: learningRate, Beta1: beta1, Beta2: beta2, Eps: epsilon, Step: o.Steps,
	})
}

// Warmup is the number of warmup steps of a run: int(0.1 steps).
func Warmup(steps int) int { return steps / 10 }

// LearningRate is the rate of a step, counted from 0: linear warmup, then linear
// decay to 0, as Transformers' get_linear_schedule_with_warmup gives it.
func LearningRate(peak float64, step, warmup, steps int) float64 {
	if step < warmup {
		return peak * float64(step) / float64(warmup)
	}
	return peak * float64(max(steps-step, 0)) / float64(max(steps-warmup, 1))
}
