package session

import (
	"context"
	"iter"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/model"
)

// Loss runs batches through a decoder and returns the sum of all token losses, in
// nats, and the number of predicted tokens. The sum is made on the device, in sum
// (F64), and read once.
func Loss(ctx context.Context, dev kernels.Device, dec *model.Decoder, w *model.Workspace, sum kernels.Scalar, batches iter.Seq2[data.Batch, error]) (total float64, tokens int64, err error) {
	first := true
	for rows, err := range batches {
		if err != nil {
			return 0, 0, err
		}
		b := model.Batch(rows)
		if err := dec.Loss(ctx, w, b); err != nil {
			return 0, 0, err
		}
		dev.Sum(sum, w.Losses.Slice(0, len(b.IDs)), !first)
		first = false
		tokens += int64(b.Count())
	}
	if first {
		return 0, 0, nil
	}
	read := make([]float64, 1)
	err = dev.ReadF64(read, sum.Buf.Slice(sum.I, 1))
	return read[0], tokens, err
}
