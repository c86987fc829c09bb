package optim_test

import (
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/reference"
	"github.com/shannon-control/scu/trainer/optim"
)

// The schedule's figures as Transformers gives them for 20 steps.
func TestLearningRate(t *testing.T) {
	want := []float64{0, 0.5, 1, 17. / 18, 16. / 18}
	for step, w := range want {
		if got := optim.LearningRate(1, step, optim.Warmup(20), 20); math.Abs(got-w) > 1e-15 {
			t.Errorf("step %d: %v, want %v", step, got, w)
		}
	}
	if got := optim.LearningRate(1, 19, 2, 20); math.Abs(got-1./18) > 1e-15 {
		t.Errorf("last step: %v", got)
	}
	if got := optim.LearningRate(1, 0, optim.Warmup(5), 5); got != 1 {
		t.Errorf("without warmup the first step has %v", got)
	}
}

// The first step of AdamW moves each weight by the learning rate, whatever the
// gradient's size; clipping changes only the moments.
func TestFirstStep(t *testing.T) {
	dev := reference.New(kernels.F32)
	alloc := func(v ...float32) kernels.Buffer {
		b, err := dev.Alloc(kernels.F32, len(v))
		if err != nil {
			t.Fatal(err)
		}
		dev.WriteF32(b, v)
		return b
	}
	param, grad := alloc(1, 2, 3), alloc(30, -40, 0)
	sums, err := dev.Alloc(kernels.F64, 1)
	if err != nil {
		t.Fatal(err)
	}
	norm := kernels.Scalar{Buf: sums}
	dev.SumSquares(norm, grad)
	o, err := optim.NewAdamW(dev, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	o.Step(param, grad, norm, 1, 0.5)
	got, m := make([]float32, 3), make([]float32, 3)
	if err := dev.ReadF32(got, param); err != nil {
		t.Fatal(err)
	}
	if err := dev.ReadF32(m, o.M); err != nil {
		t.Fatal(err)
	}
	for i, w := range []float32{0.5, 2.5, 3} {
		if math.Abs(float64(got[i]-w)) > 1e-5 {
			t.Errorf("weight %d is %v, want %v", i, got[i], w)
		}
	}
	for i, w := range []float32{0.06, -0.08, 0} { // 0.1 of the gradient clipped to norm 1
		if math.Abs(float64(m[i]-w)) > 1e-6 {
			t.Errorf("moment %d is %v, want %v", i, m[i], w)
		}
	}
}
