// Package session is one optimiser step, known nowhere else: the loss and its
// gradient over micro-batches, the regulariser, clipping, AdamW and the controller.
// It knows nothing of jobs, files or brokers: runs, reference runs and estimates
// drive the same code.
package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
	"github.com/shannon-control/scu/trainer/control"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/optim"
)

// Session is what changes in a training run: the adapter, its optimiser and the
// controller, on weights that don't.
type Session struct {
	Adapter *lora.Adapter
	Optim   *optim.AdamW
	Control *control.Controller
	Scale   *optim.LossScale //  nil unless activations are F16
	Decoder *model.Decoder   // the weights with the adapter
	Grad    kernels.Buffer   // F32: the gradient of the step; the adapter's own buffer unless that holds a scaled one
	Work    *model.Workspace

	dev    kernels.Device
	config Config
	sums   kernels.Buffer // F64: [0] squares of weights, [1] squares of gradients, [2+i] losses of micro-batch i
	inHost kernels.Buffer // F64: a copy of the sums, on a device that computes beside the host; else nil
	shares kernels.Buffer // F64, of the step's gradient: [0] of a token's loss, [1] of a weight, [2] of the scaled gradient
	ahead  ahead
}

// ahead is a step whose micro-batches are queued though the one before isn't known to be done.
type ahead struct {
	step    int
	micros  []model.Batch // nil if there is none
	targets int           // that they predict
}

// is reports whether it is a step of the same micro-batches.
func (a ahead) is(step int, micros []model.Batch) bool {
	return a.step == step && len(micros) > 0 && len(a.micros) == len(micros) && &a.micros[0] == &micros[0]
}

// Config is what a session is made from.
type Config struct {
	Control       scu.ControlConfig
	PriorSigma    float64 // the prior's standard deviation
	EpochTokens   int64   // N
	MaxGradNorm   float64
	LearningRate  float64 // peak
	Warmup, Steps int     // of the whole run, for the schedule
	Seed          int64
	Dropout       float64
	Workspace     model.WorkspaceOptions
	MicroBatches  int // the most of one step
}

// New allocates everything that a run needs; nothing more is allocated later.
// param are the adapter's first weights; nil leaves zeros.
func New(dev kernels.Device, weights *model.Weights, modules []lora.Module, param []float32, c Config) (s *Session, err error) {
	s = &Session{dev: dev, config: c, Control: control.New(c.Control)}
	defer func() {
		if err != nil {
			s.Close()
			s = nil
		}
	}()
	if s.Adapter, err = lora.New(dev, modules, c.Dropout); err != nil {
		return s, err
	}
	if param != nil {
		dev.WriteF32(s.Adapter.Param, param)
	}
	if s.Optim, err = optim.NewAdamW(dev, lora.Count(modules)); err != nil {
		return s, err
	}
	s.Decoder = weights.With(s.Adapter)
	c.Workspace.MicroBatches = c.MicroBatches
	if s.Work, err = s.Decoder.NewWorkspace(c.Workspace); err != nil {
		return s, err
	}
	if s.sums, err = dev.Alloc(kernels.F64, 2+c.MicroBatches); err != nil {
		return s, err
	}
	if s.shares, err = dev.Alloc(kernels.F64, 3); err != nil {
		return s, err
	}
	s.Grad = s.Adapter.Grad
	if dev.Activations() == kernels.F16 {
		s.Scale = optim.NewLossScale()
		s.Grad, err = dev.Alloc(kernels.F32, s.Grad.Len())
	} else if host, ok := dev.(kernels.HostMemory); ok {
		// A loss scale isn't known ahead of the step before.
		if s.inHost, err = host.AllocHost(kernels.F64, s.sums.Len()); errors.Is(err, kernels.ErrMemory) {
			s.inHost, err = nil, nil
		}
	}
	return s, err
}

// Close frees what New allocated.
func (s *Session) Close() {
	for _, b := range []kernels.Buffer{s.sums, s.inHost, s.shares} {
		if b != nil {
			s.dev.Free(b)
		}
	}
	if s.Scale != nil && s.Grad != nil {
		s.dev.Free(s.Grad)
	}
	if s.Work != nil {
		s.Work.Close()
	}
	if s.Optim != nil {
		s.Optim.Close()
	}
	if s.Adapter != nil {
		s.Adapter.Close()
	}
}

// Result is what is known of an optimiser step.
type Result struct {
	Step       int
	Losses     []float64 // summed nats of each micro-batch
	Targets    int       // predicted tokens
	CE         float64   // nats per token
	Bits       control.Bits
	SHat       float64
	Lambda     float64 // in this step's gradient
	LambdaNext float64
	LR         float64
	GradNorm   float64 // before clipping
	Loss       float64 // CE + lambda sum w^2 / (2 sigma^2 N)
}

// Step makes the next optimiser step over its micro-batches: the loss and the
// bits of the weights as they are, the gradient with the present lambda, clipping,
// AdamW, and then the controller. A loss or gradient that isn't finite is an error
// that says where it arose, and moves nothing.
//
// next are the micro-batches that the step after it will be called with, nil if there
// is none: a device that computes beside the host begins with them before Step
// returns, so that it is busy while the caller tells of this step. The caller may read
// all that there is in between, and evaluate, but write no weight.
func (s *Session) Step(ctx context.Context, micros, next []model.Batch) (Result, error) {
	r, squares, err := s.try(ctx, micros, next)
	for err == nil && s.overflowed(r) && s.Scale.Halve() {
		r, squares, err = s.try(ctx, micros, next)
	}
	if err != nil {
		return r, err
	}
	if !finite(r.CE) || !finite(r.GradNorm) {
		return r, s.diverged(ctx, micros, r)
	}
	if s.Scale != nil {
		s.Scale.Grow()
	}
	r.Bits = control.Measure(r.CE, squares, s.config.PriorSigma, s.config.EpochTokens)
	r.Loss = r.CE + r.Lambda*r.Bits.Param*math.Ln2
	s.Control.Update(r.Bits.S)
	r.SHat, r.LambdaNext = s.Control.SHat, s.Control.Lambda
	return r, nil
}

// try makes a step's loss, gradient and update, which is none if the gradient isn't finite,
// and returns the sum of the squares of the weights before it.
func (s *Session) try(ctx context.Context, micros, next []model.Batch) (r Result, squares float64, err error) {
	r = Result{Step: s.Optim.Steps, Lambda: s.Control.Lambda}
	r.LR = optim.LearningRate(s.config.LearningRate, r.Step, s.config.Warmup, s.config.Steps)
	if err := s.Gradient(ctx, micros, &r); err != nil {
		return r, 0, err
	}
	norm := kernels.Scalar{Buf: s.sums, I: 1}
	s.dev.SumSquares(norm, s.Grad)
	s.Optim.Step(s.Adapter.Param, s.Grad, norm, s.config.MaxGradNorm, r.LR)

	sums, err := s.readSums(ctx, next)
	if err != nil {
		return r, 0, err
	}
	r.Losses = sums[2 : 2+len(micros)]
	for _, l := range r.Losses {
		r.CE += l
	}
	r.CE /= float64(r.Targets)
	r.GradNorm = math.Sqrt(sums[1])
	if !finite(r.GradNorm) {
		s.Optim.Steps-- // the device left the weights and moments alone
	}
	return r, sums[0], nil
}

// readSums queues the next step's micro-batches, if the device computes beside the host, and
// reads this step's sums.
func (s *Session) readSums(ctx context.Context, next []model.Batch) ([]float64, error) {
	sums := make([]float64, s.sums.Len())
	if s.inHost == nil {
		return sums, s.dev.ReadF64(sums, s.sums)
	}
	host := s.dev.(kernels.HostMemory)
	host.CopyBeside(s.inHost, s.sums)
	if next != nil {
		if targets, err := s.lossGrad(ctx, s.Optim.Steps, next); err == nil { // what is wrong with it is told when its turn comes
			s.ahead = ahead{s.Optim.Steps, next, targets}
		}
	}
	return sums, host.ReadBeside(sums, s.inHost)
}

// Gradient leaves d(CE + lambda sum w^2 / (2 sigma^2 N))/dw in s.Grad, and the step's
// sums on the device.
func (s *Session) Gradient(ctx context.Context, micros []model.Batch, r *Result) error {
	begun := s.ahead
	s.ahead = ahead{}
	if begun.is(r.Step, micros) {
		r.Targets = begun.targets
	} else {
		var err error
		if r.Targets, err = s.lossGrad(ctx, r.Step, micros); err != nil {
			return err
		}
	}

	lambda := r.Lambda
	if s.config.Control.Law == scu.LawUnapplied {
		lambda = 0
	}
	s.dev.WriteF64(s.shares.Slice(1, 2), []float64{lambda / (s.config.PriorSigma * s.config.PriorSigma * float64(s.config.EpochTokens)), 1 / s.scale()})
	s.dev.SumSquares(kernels.Scalar{Buf: s.sums}, s.Adapter.Param)
	if s.Scale != nil {
		s.dev.Zero(s.Grad)
		s.dev.Axpy(s.Grad, kernels.Scalar{Buf: s.shares, I: 2}, s.Adapter.Grad)
	}
	s.dev.Axpy(s.Grad, kernels.Scalar{Buf: s.shares, I: 1}, s.Adapter.Param)
	return nil
}

// lossGrad queues the losses of a step's micro-batches and leaves the gradient of their mean
// token's, times the loss scale, in the adapter's buffer: all of a step that lambda has no part in.
// It returns the number of predicted tokens.
func (s *Session) lossGrad(ctx context.Context, step int, micros []model.Batch) (targets int, err error) {
	if len(micros) == 0 || 2+len(micros) > s.sums.Len() {
		return 0, fmt.Errorf("a step of %d micro-batches; this session is for 1 to %d", len(micros), s.sums.Len()-2)
	}
	for _, b := range micros {
		targets += b.Count()
	}
	if targets == 0 {
		return 0, scu.Errorf(scu.CodeInvalid, "step %d has no token to learn from", step+1)
	}
	// All that the micro-batches read is written before their work is queued.
	keys := make([]uint64, len(micros))
	for i := range keys {
		keys[i] = s.dropoutKey(step, i)
	}
	if err := s.Decoder.Stage(s.Work, micros, keys); err != nil {
		return 0, err
	}
	s.writeTokenShare(targets)

	s.dev.Zero(s.Adapter.Grad)
	for i, b := range micros {
		if err := s.Decoder.LossGrad(ctx, s.Work, i, kernels.Scalar{Buf: s.shares}); err != nil {
			return 0, err
		}
		if i == 0 && s.inHost != nil { // the sums of the step before have left
			s.dev.(kernels.HostMemory).Join(s.inHost)
		}
		s.dev.Sum(kernels.Scalar{Buf: s.sums, I: 2 + i}, s.Work.Losses.Slice(0, len(b.IDs)), false)
	}
	return targets, nil
}

// writeTokenShare writes what a token's loss counts for in a step of so many.
func (s *Session) writeTokenShare(targets int) {
	s.dev.WriteF64(s.shares.Slice(0, 1), []float64{s.scale() / float64(targets)})
}

func (s *Session) scale() float64 {
	if s.Scale != nil {
		return s.Scale.Factor
	}
	return 1
}

// dropoutKey is that of micro-batch i of a step.
func (s *Session) dropoutKey(step, i int) uint64 {
	return random.Key(uint64(s.config.Seed), random.StreamDropout, uint64(step), uint64(i))
}

// Evaluate is the mean loss of batches in nats per token, without dropout and
// with the adapter as it is. It uses the training workspace.
func (s *Session) Evaluate(ctx context.Context, batches iter.Seq2[data.Batch, error]) (float64, error) {
	total, tokens, err := Loss(ctx, s.dev, s.Decoder, s.Work, kernels.Scalar{Buf: s.sums}, batches)
	if err != nil {
		return 0, err
	}
	if tokens == 0 {
		return 0, scu.Errorf(scu.CodeInvalid, "the validation data has no token to predict")
	}
	loss := total / float64(tokens)
	if !finite(loss) {
		return 0, s.invalid(ctx, batches, loss)
	}
	return loss, nil
}

// Params reads the adapter's weights to the host.
func (s *Session) Params() ([]float32, error) {
	w := make([]float32, s.Adapter.Param.Len())
	return w, s.dev.ReadF32(w, s.Adapter.Param)
}

// overflowed reports whether a step may have failed because of its loss scale alone.
func (s *Session) overflowed(r Result) bool {
	return s.Scale != nil && finite(r.CE) && !finite(r.GradNorm)
}
