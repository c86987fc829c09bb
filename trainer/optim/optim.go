// Package optim is AdamW over an adapter's flat parameters, and the learning
// rate's schedule.
package optim

import (
	"math"

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
	rates kernels.Buffer // F64 [3], of the last step
	dev   kernels.Device
}

// NewAdamW makes an optimiser for n parameters.
func NewAdamW(dev kernels.Device, n int) (*AdamW, error) {
	o := &AdamW{dev: dev}
	for _, b := range []struct {
		buf *kernels.Buffer
		t   kernels.DType
		n   int
	}{{&o.M, kernels.F32, n}, {&o.V, kernels.F32, n}, {&o.rates, kernels.F64, 3}} {
		var err error
		if *b.buf, err = dev.Alloc(b.t, b.n); err != nil {
			o.Close()
			return nil, err
		}
	}
	return o, nil
}

// Close frees the moments.
func (o *AdamW) Close() {
	for _, b := range []kernels.Buffer{o.M, o.V, o.rates} {
		if b != nil {
			o.dev.Free(b)
		}
	}
}

// Step updates param by grad, whose squared norm is normSquared (F64); the gradient
// is clipped to maxNorm, unless that is 0.
func (o *AdamW) Step(param, grad kernels.Buffer, normSquared kernels.Scalar, maxNorm, learningRate float64) {
	o.Steps++
	t := float64(o.Steps)
	o.dev.WriteF64(o.rates, []float64{learningRate, 1 - math.Pow(beta1, t), 1 - math.Pow(beta2, t)})
	o.dev.AdamW(kernels.AdamW{
		Param: param, Grad: grad, M: o.M, V: o.V, NormSquared: normSquared, MaxNorm: maxNorm,
		Rates: o.rates, Beta1: beta1, Beta2: beta2, Eps: epsilon,
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
