// Package generate continues a text by a base model or by its adapted self, with
// the trainer's own model code: to see what an adapter learned.
package generate

import (
	"context"
	"math"
	"sort"

	"scu"
	"scu/kernels"
	"scu/kernels/cpu"
	"scu/trainer/base"
	"scu/trainer/lora"
	"scu/trainer/model"
)

// Options say how a text is continued.
type Options struct {
	// MaxTokens is the most new tokens. Default 64. An end-of-text token ends the
	// text before.
	MaxTokens int
	// Temperature divides the logits. Default 0: the likeliest token each time.
	Temperature float64
	// TopK keeps the likeliest tokens. Default 0: all. Only with a temperature.
	TopK int
	// Seed drives sampling: the same seed gives the same text.
	Seed int64
	// Threads of the CPU device. Default 1.
	Threads int
}

// Text returns prompt's continuation, without the prompt, by the model in baseDir
// with the adapter in adapterDir, or the base alone where that is "".
func Text(ctx context.Context, baseDir, adapterDir, prompt string, o Options) (string, error) {
	if o.MaxTokens == 0 {
		o.MaxTokens = 64
	}
	m, err := base.Open(baseDir)
	if err != nil {
		return "", err
	}
	defer m.Close()
	ids := m.Tokenizer.Encode(prompt)
	if len(ids) == 0 {
		return "", scu.Errorf(scu.CodeInvalid, "the prompt is empty")
	}
	length := len(ids) + o.MaxTokens
	if length > m.Spec.Positions {
		return "", scu.Errorf(scu.CodeInvalid, "%d tokens of prompt and %d new ones are more than the model's %d positions", len(ids), o.MaxTokens, m.Spec.Positions)
	}
	dev, err := cpu.New(max(o.Threads, 1))
	if err != nil {
		return "", err
	}
	defer dev.Close()
	dec, err := model.Load(dev, m.Spec, m.Files, length)
	if err != nil {
		return "", err
	}
	defer dec.Close()
	if adapterDir != "" {
		a, err := lora.Load(dev, adapterDir, m.Spec.Targets(), m.Spec.DefaultTargets)
		if err != nil {
			return "", err
		}
		defer a.Close()
		dec.Attach(a)
	}
	cache, err := dec.NewCache(length)
	if err != nil {
		return "", err
	}
	defer cache.Close()
	out, err := sample(ctx, cache, ids, m.EOS, o)
	return m.Tokenizer.Decode(out, true), err
}

func sample(ctx context.Context, cache *model.Cache, ids []int32, eos int32, o Options) (out []int32, err error) {
	for next := ids; len(out) < o.MaxTokens; {
		logits, err := cache.Next(ctx, next)
		if err != nil {
			return out, err
		}
		id := choose(logits, o, len(out))
		if id == eos {
			break
		}
		out = append(out, id)
		next = out[len(out)-1:]
	}
	return out, nil
}

// choose picks the n-th new token.
func choose(logits []float32, o Options, n int) int32 {
	best := 0
	for i, x := range logits {
		if x > logits[best] {
			best = i
		}
	}
	if o.Temperature <= 0 {
		return int32(best)
	}
	order := make([]int, len(logits))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return logits[order[a]] > logits[order[b]] })
	if o.TopK > 0 && o.TopK < len(order) {
		order = order[:o.TopK]
	}
	var total float64
	weights := make([]float64, len(order))
	for i, j := range order {
		weights[i] = math.Exp(float64(logits[j]-logits[best]) / o.Temperature)
		total += weights[i]
	}
	u := kernels.Uniform(kernels.Key(uint64(o.Seed), kernels.StreamSample), uint64(n)) * total
	for i, w := range weights {
		if u -= w; u < 0 {
			return int32(order[i])
		}
	}
	return int32(order[len(order)-1])
}
