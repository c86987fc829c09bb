package trainer

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/control"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/eval"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/optim"
)

// session is a run's changing parts: the adapter, its optimiser and the
// controller. One call of step makes one optimiser step. It knows nothing of
// jobs, files or brokers, so that the reference runs can drive it directly.
type session struct {
	dev     kernels.Device
	decoder *model.Decoder
	adapter *lora.Adapter
	optim   *optim.AdamW
	control *control.Controller
	work    *model.Workspace
	sums    kernels.Buffer // F64: [0] squares of weights, [1] squares of gradients, [2+i] losses of micro-batch i

	sigma        float64 // prior's standard deviation
	epochTokens  int64   // N
	maxGradNorm  float64
	learningRate float64 // peak
	warmup       int     // steps, of the schedule
	steps        int     // of the whole run, for the schedule
	seed         int64
}

// sessionConfig is what a session is made from.
type sessionConfig struct {
	Control       scu.ControlConfig
	PriorSigma    float64
	EpochTokens   int64
	MaxGradNorm   float64
	LearningRate  float64
	Warmup, Steps int
	Seed          int64
	Dropout       float64
	Workspace     model.WorkspaceOptions
	MicroBatches  int // the most of one step
}

// newSession allocates everything a run needs; nothing more is allocated later.
// param are the adapter's first weights.
func newSession(dev kernels.Device, dec *model.Decoder, modules []lora.Module, param []float32, c sessionConfig) (s *session, err error) {
	s = &session{dev: dev, decoder: dec, control: control.New(c.Control), sigma: c.PriorSigma, epochTokens: c.EpochTokens,
		maxGradNorm: c.MaxGradNorm, learningRate: c.LearningRate, warmup: c.Warmup, steps: c.Steps, seed: c.Seed}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.adapter, err = lora.New(dev, modules, c.Dropout); err != nil {
		return nil, err
	}
	dev.WriteF32(s.adapter.Param, param)
	dec.Attach(s.adapter)
	if s.optim, err = optim.NewAdamW(dev, lora.Count(modules)); err != nil {
		return nil, err
	}
	if s.work, err = dec.NewWorkspace(c.Workspace); err != nil {
		return nil, err
	}
	s.sums, err = dev.Alloc(kernels.F64, 2+c.MicroBatches)
	return s, err
}

func (s *session) close() {
	s.decoder.Attach(nil)
	if s.sums != nil {
		s.dev.Free(s.sums)
	}
	if s.work != nil {
		s.work.Close()
	}
	if s.optim != nil {
		s.optim.Close()
	}
	if s.adapter != nil {
		s.adapter.Close()
	}
}

// result is what one optimiser step says.
type result struct {
	step       int
	losses     []float64 // summed nats of each micro-batch
	targets    int
	ce         float64
	bits       control.Bits
	sHat       float64
	lambda     float64 // in this step's gradient
	lambdaNext float64
	lr         float64
	gradNorm   float64
	loss       float64 // CE + lambda sum w^2 / (2 sigma^2 N)
}

// step makes the next optimiser step over its micro-batches: the loss and the
// bits of the weights as they are, the gradient with the present lambda, clipping,
// AdamW, and then the controller.
func (s *session) step(ctx context.Context, micros []model.Batch) (result, error) {
	r := result{step: s.optim.Steps, lambda: s.control.Lambda}
	r.lr = optim.LearningRate(s.learningRate, r.step, s.warmup, s.steps)
	if err := s.gradient(ctx, micros, &r); err != nil {
		return r, err
	}
	s.dev.SumSquares(s.sums, 1, s.adapter.Grad)
	s.optim.Step(s.adapter.Param, s.adapter.Grad, s.sums.Slice(1, 1), s.maxGradNorm, r.lr)

	sums := make([]float64, 2+len(micros))
	if err := s.dev.ReadF64(sums, s.sums.Slice(0, len(sums))); err != nil {
		return r, err
	}
	r.losses = sums[2:]
	for _, l := range r.losses {
		r.ce += l
	}
	r.ce /= float64(r.targets)
	r.gradNorm = math.Sqrt(sums[1])
	if math.IsNaN(r.ce) || math.IsInf(r.ce, 0) || math.IsNaN(r.gradNorm) || math.IsInf(r.gradNorm, 0) {
		return r, scu.Errorf(scu.CodeInvalid, "training diverged at step %d: the loss is %v and the gradient's norm %v", r.step, r.ce, r.gradNorm).
			WithHint("lower learning_rate, or raise batch_size or gradient_accumulation_steps")
	}
	r.bits = control.Measure(r.ce, sums[0], s.sigma, s.epochTokens)
	r.loss = r.ce + r.lambda*r.bits.Param*math.Ln2
	s.control.Update(r.bits.S)
	r.sHat, r.lambdaNext = s.control.SHat, s.control.Lambda
	return r, nil
}

// gradient leaves d(CE + lambda sum w^2 / (2 sigma^2 N))/dw in the adapter's
// Grad, and the step's sums on the device.
func (s *session) gradient(ctx context.Context, micros []model.Batch, r *result) error {
	if len(micros) == 0 || 2+len(micros) > s.sums.Len() {
		return fmt.Errorf("a step of %d micro-batches; this session is for 1 to %d", len(micros), s.sums.Len()-2)
	}
	for _, b := range micros {
		r.targets += b.Count()
	}
	if r.targets == 0 {
		return scu.Errorf(scu.CodeInvalid, "step %d has no token to learn from", r.step)
	}
	s.dev.Zero(s.adapter.Grad)
	s.dev.SumSquares(s.sums, 0, s.adapter.Param)
	for i, b := range micros {
		key := kernels.Key(uint64(s.seed), kernels.StreamDropout, uint64(r.step), uint64(i))
		if err := s.decoder.LossGrad(ctx, s.work, b, 1/float32(r.targets), key); err != nil {
			return err
		}
		s.dev.Sum(s.sums, 2+i, s.work.Losses.Slice(0, len(b.IDs)))
	}
	s.dev.Axpy(s.adapter.Grad, r.lambda/(s.sigma*s.sigma*float64(s.epochTokens)), s.adapter.Param)
	return nil
}

// evaluate is the mean loss of batches in nats per token, without dropout and
// with the adapter as it is. It uses the training workspace.
func (s *session) evaluate(ctx context.Context, batches iter.Seq2[data.Batch, error]) (float64, error) {
	total, tokens, err := eval.Loss(ctx, s.dev, s.decoder, s.work, s.sums, batches)
	if err != nil {
		return 0, err
	}
	if tokens == 0 {
		return 0, scu.Errorf(scu.CodeInvalid, "the validation data has no token to predict")
	}
	return total / float64(tokens), nil
}

// params reads the adapter's weights to the host.
func (s *session) params() ([]float32, error) {
	w := make([]float32, s.adapter.Param.Len())
	return w, s.dev.ReadF32(w, s.adapter.Param)
}
