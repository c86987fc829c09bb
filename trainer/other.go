package trainer

import (
	"context"

	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
)

// openOther opens the text of another kind, whose loss tells what is kept of the base.
func (r *run) openOther(ctx context.Context, cache data.Cache) error {
	other, _, err := openData(ctx, r.t.Files, *r.job.OtherData, r.base, &r.job.Config, cache)
	if err != nil {
		return base.Within("other_data_path", err)
	}
	r.onClose(func() { other.Close() })
	r.other = other
	r.work.Longest = max(r.work.Longest, other.Longest())
	return nil
}

// otherLoss returns the mean loss on the text of another kind, in nats a token; nil if
// there is none.
func (r *run) otherLoss(ctx context.Context) (*float64, error) {
	if r.other == nil {
		return nil, nil
	}
	loss, err := r.session.Evaluate(ctx, r.other.Batches(r.job.Config.BatchSize))
	if err != nil {
		return nil, base.Within("other_data_path", err)
	}
	return &loss, nil
}

// otherLosses returns the loss on the text of another kind of the last weights, and of
// those that are kept, of the given step. The session holds the latter afterwards.
func (r *run) otherLosses(ctx context.Context, kept []float32, step int) (last, after *float64, err error) {
	if last, err = r.otherLoss(ctx); err != nil || last == nil || step == r.last.Step {
		return last, last, err
	}
	r.dev.WriteF32(r.session.Adapter.Param, kept)
	after, err = r.otherLoss(ctx)
	return last, after, err
}
