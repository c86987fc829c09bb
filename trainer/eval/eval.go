// Package eval measures how well a model, or its adapted self, predicts a text.
package eval

import (
	"context"
	"math"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/session"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// Result is a measurement. A token is counted where its prediction is; the first
// of each block is not predicted.
type Result struct {
	Loss         float64 `json:"loss"`           // nats a token
	Perplexity   float64 `json:"perplexity"`     // e^Loss
	BitsPerToken float64 `json:"bits_per_token"` // Loss / ln 2
	BitsPerByte  float64 `json:"bits_per_byte"`  // all bits / the bytes of the predicted tokens' text
	Tokens       int64   `json:"tokens"`
	Bytes        int64   `json:"bytes"` // tokens without a text, as the end-of-text token, have none
	Blocks       int     `json:"blocks"`
}

// Options say what is measured on what.
type Options struct {
	Base, Adapter string // folders; Adapter may be ""
	// Config's block_size, batch_size, text_documents and train_on count. The text
	// is cut into the blocks of a training run with the same ones, so a loss here is
	// the validation loss there.
	Config scu.Config
}

// Run measures on the file at path, plain text or JSONL. It gives what of the data
// looks odd, too.
func Run(ctx context.Context, dev kernels.Device, path string, o Options) (r Result, warnings []string, err error) {
	m, err := base.Open(o.Base)
	if err != nil {
		return r, nil, err
	}
	defer m.Close()
	if err := m.FitBlock(&o.Config); err != nil {
		return r, nil, err
	}
	set, report, err := m.OpenData(ctx, path, path, &o.Config, data.Cache{}, "")
	if err != nil {
		return r, nil, base.Within("data", err)
	}
	defer set.Close()
	length := set.Longest()
	weights, err := model.Load(dev, m.Spec, m.Weights, length)
	if err != nil {
		return r, nil, base.Within("base_model", err)
	}
	defer weights.Close()
	dec := weights.With(nil)
	if o.Adapter != "" {
		if err := base.SameBase(o.Adapter, m.Weights); err != nil {
			warnings = append(warnings, err.Error())
		}
		a, err := lora.Load(dev, o.Adapter, m.Spec.Targets(), m.Spec.DefaultTargets)
		if err != nil {
			return r, nil, base.Within("adapter", err)
		}
		defer a.Close()
		dec = weights.With(a)
	}
	w, err := dec.NewWorkspace(model.WorkspaceOptions{Batch: min(o.Config.BatchSize, set.Blocks()), Len: length})
	if err != nil {
		return r, nil, err
	}
	defer w.Close()
	sum, err := dev.Alloc(kernels.F64, 1)
	if err != nil {
		return r, nil, err
	}
	defer dev.Free(sum)

	total, tokens, err := session.Loss(ctx, dev, dec, w, kernels.Scalar{Buf: sum}, set.Batches(o.Config.BatchSize))
	if err != nil {
		return r, nil, err
	}
	bytes, err := predictedBytes(set, m.Tokenizer)
	if err != nil {
		return r, nil, err
	}
	r = Result{Loss: total / float64(tokens), Tokens: tokens, Bytes: bytes, Blocks: set.Blocks()}
	if math.IsNaN(r.Loss) || math.IsInf(r.Loss, 0) {
		return r, nil, scu.Errorf(scu.CodeInvalid, "the loss is %v: the model's or the adapter's weights are broken", r.Loss)
	}
	r.Perplexity, r.BitsPerToken = min(math.Exp(r.Loss), math.MaxFloat64), r.Loss/math.Ln2
	if bytes > 0 {
		r.BitsPerByte = total / math.Ln2 / float64(bytes)
	}
	return r, append(warnings, report.Warnings()...), nil
}

// predictedBytes is the length of the text of all predicted tokens. A character
// whose bytes are partly in a token that isn't predicted counts three.
func predictedBytes(set *data.Dataset, tok *tokenizer.Tokenizer) (n int64, err error) {
	var predicted []int32
	for i := range set.Blocks() {
		b, err := set.Block(i)
		if err != nil {
			return 0, err
		}
		predicted = predicted[:0]
		for _, t := range b.Targets {
			if t >= 0 {
				predicted = append(predicted, t)
			}
		}
		n += int64(len(tok.Decode(predicted, true)))
	}
	return n, nil
}
