// Package eval measures how well a model, or its adapted self, predicts a text.
package eval

import (
	"context"
	"iter"
	"math"

	"scu"
	"scu/kernels"
	"scu/trainer/base"
	"scu/trainer/data"
	"scu/trainer/lora"
	"scu/trainer/model"
	"scu/trainer/tokenizer"
)

// Result is a measurement. A token is counted where its prediction is; the first
// of each block is not predicted.
type Result struct {
	Loss         float64 `json:"loss"`           // nats per token
	Perplexity   float64 `json:"perplexity"`     // e^Loss
	BitsPerToken float64 `json:"bits_per_token"` // Loss / ln 2
	BitsPerByte  float64 `json:"bits_per_byte"`  // all bits / the bytes of the predicted tokens
	Tokens       int64   `json:"tokens"`
	Bytes        int64   `json:"bytes"`
	Blocks       int     `json:"blocks"`
}

// Options say what is measured on what.
type Options struct {
	Base, Adapter string     // folders; Adapter may be ""
	Data          string     // a file, text or JSONL
	Config        scu.Config // block_size, batch_size, text_documents and train_on count
}

// Run measures.
func Run(ctx context.Context, dev kernels.Device, o Options) (r Result, err error) {
	m, err := base.Open(o.Base)
	if err != nil {
		return r, err
	}
	defer m.Close()
	block := min(o.Config.BlockSize, m.Spec.Positions)
	set, _, err := data.Open(ctx, o.Data, o.Data, m.Tokenizer, data.Options{BlockSize: block, EOS: m.EOS,
		TextDocuments: o.Config.TextDocuments, TrainOn: o.Config.TrainOn})
	if err != nil {
		return r, err
	}
	defer set.Close()
	dec, err := model.Load(dev, m.Spec, m.Files, block)
	if err != nil {
		return r, err
	}
	defer dec.Close()
	if o.Adapter != "" {
		a, err := lora.Load(dev, o.Adapter, m.Spec.Targets(), m.Spec.DefaultTargets)
		if err != nil {
			return r, err
		}
		defer a.Close()
		dec.Attach(a)
	}
	w, err := dec.NewWorkspace(model.WorkspaceOptions{Batch: o.Config.BatchSize, Len: block})
	if err != nil {
		return r, err
	}
	defer w.Close()
	sum, err := dev.Alloc(kernels.F64, 1)
	if err != nil {
		return r, err
	}
	defer dev.Free(sum)

	total, tokens, err := Loss(ctx, dev, dec, w, sum, set.Batches(o.Config.BatchSize))
	if err != nil {
		return r, err
	}
	r.Tokens = tokens
	if r.Tokens == 0 {
		return r, scu.Errorf(scu.CodeInvalid, "the data has no token to predict")
	}
	r.Blocks = set.Blocks()
	if r.Bytes, err = predictedBytes(set, m.Tokenizer); err != nil {
		return r, err
	}
	r.Loss = total / float64(r.Tokens)
	r.Perplexity, r.BitsPerToken = math.Exp(r.Loss), r.Loss/math.Ln2
	if r.Bytes > 0 {
		r.BitsPerByte = total / math.Ln2 / float64(r.Bytes)
	}
	return r, nil
}

// predictedBytes is the length of the text of all predicted tokens.
func predictedBytes(set *data.Dataset, tok *tokenizer.Tokenizer) (n int64, err error) {
	for i := range set.Blocks() {
		_, targets, err := set.Block(i)
		if err != nil {
			return 0, err
		}
		var predicted []int32
		for _, t := range targets {
			if t >= 0 {
				predicted = append(predicted, t)
			}
		}
		n += int64(len(tok.Decode(predicted, true)))
	}
	return n, nil
}

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
