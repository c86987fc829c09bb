package session

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/model"
)

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// diverged is the error of a step whose loss or gradient isn't finite: it names the
// step and where that arose. The weights are those of before the step.
func (s *Session) diverged(ctx context.Context, micros []model.Batch, r Result) error {
	s.writeTokenShare(r.Targets) // the next step's may be there
	s.dev.Zero(s.Adapter.Grad)
	for i, b := range micros {
		at, err := s.Decoder.FindNonFinite(ctx, s.Work, b, s.dropoutKey(r.Step, i), kernels.Scalar{Buf: s.shares})
		if err != nil {
			return err
		}
		if at != nil {
			return s.brokenAt(*at, "step %d has a loss of %v and a gradient of norm %v", r.Step+1, r.CE, r.GradNorm)
		}
	}
	return s.brokenAt(model.NonFinite{}, "step %d has a loss of %v and a gradient of norm %v", r.Step+1, r.CE, r.GradNorm)
}

// invalid is the error of a validation whose loss isn't finite.
func (s *Session) invalid(ctx context.Context, batches iter.Seq2[data.Batch, error], loss float64) error {
	when := "before the first step"
	if s.Optim.Steps > 0 {
		when = fmt.Sprintf("after step %d", s.Optim.Steps)
	}
	for b, err := range batches {
		if err != nil {
			return err
		}
		at, err := s.Decoder.FindNonFinite(ctx, s.Work, model.Batch(b), 0, kernels.Scalar{})
		if err != nil {
			return err
		}
		if at != nil {
			return s.brokenAt(*at, "the validation %s has a loss of %v", when, loss)
		}
	}
	return s.brokenAt(model.NonFinite{}, "the validation %s has a loss of %v", when, loss)
}

// brokenAt says what happened, where it began, and what helps. Until a weight has
// moved, no setting of the training is to blame.
func (s *Session) brokenAt(at model.NonFinite, what string, args ...any) error {
	if at.Tensor != "" {
		return scu.Errorf(scu.CodeInvalid, what+": the base model's tensor %s holds %v", append(args, at.Tensor, at.Value)...).
			At("base_model").WithHint("the checkpoint is damaged: download it again, or use another one; no setting helps")
	}
	if at.Back {
		at.Where = "the backward pass of " + at.Where
	}
	if at.Where != "" {
		what, args = what+"; it arose in %s", append(args, at.Where)
	}
	err := scu.Errorf(scu.CodeInvalid, what, args...)
	switch {
	case at.Module != "":
		return scu.Errorf(scu.CodeInvalid, what+", where the adapter's weights of %s hold %v", append(args, at.Module, at.Value)...).
			WithHint("lower learning_rate, or begin from another adapter")
	case s.Optim.Steps == 0:
		return err.WithHint("no weight has moved yet: the base model itself overflows on this data; use_fp16 false has a wider range")
	}
	return err.WithHint("lower learning_rate, or raise batch_size or gradient_accumulation_steps")
}
