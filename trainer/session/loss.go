package session

import (
	"context"
	"iter"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/model"
)

// Loss runs batches through a decoder and returns the sum of all token losses, in
// nats, and the number of predicted tokens. sum is an F64 buffer whose first
// element is overwritten.
func Loss(ctx context.Context, dev kernels.Device, dec *model.Decoder, w *model.Workspace, sum kernels.Buffer, batches iter.Seq2[data.Batch, error]) (total float64, tokens int64, err error) {
	one := make([]float64, 1)
	for rows, err := range batches {
		if err != nil {
			return 0, 0, err
		}
		b := model.Batch(rows)
		if err := dec.Loss(ctx, w, b); err != nil {
			return 0, 0, err
		}
		dev.Sum(sum, 0, w.Losses.Slice(0, len(b.IDs)))
		if err := dev.ReadF64(one, sum.Slice(0, 1)); err != nil {
			return 0, 0, err
		}
		total += one[0]
		tokens += int64(b.Count())
	}
	return total, tokens, nil
}
