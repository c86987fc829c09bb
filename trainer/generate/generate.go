// Package generate continues a text by a base model or by its adapted self, with
// the trainer's own model code: to see what an adapter learned.
package generate

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/kernels/random"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// Options say how a text is continued.
type Options struct {
	// MaxTokens is the most new tokens. Default 64, or as many as the model has
	// positions left for. A token that ends texts ends this one before.
	MaxTokens int
	// Temperature divides the logits. Default 0: the likeliest token each time.
	Temperature float64
	// TopK keeps the likeliest tokens. Default 0: all. Only with a temperature.
	TopK int
	// TopP keeps the likeliest tokens that together have this share of the probability.
	// Default 0: all, as 1. Only with a temperature.
	TopP float64
	// Seed drives sampling: the same seed gives the same text.
	Seed int64
	// Chat takes the prompt for what a user says or, if it is a JSON array, for the
	// messages of a conversation. The model's chat template writes it.
	Chat bool
	// Threads of the CPU device that Text makes. Default 1.
	Threads int
}

const defaultTokens = 64

// Result is a continuation.
type Result struct {
	Text         string `json:"text"` // without the prompt
	PromptTokens int    `json:"prompt_tokens"`
	Tokens       int    `json:"tokens"` // new ones
	Ended        bool   `json:"ended"`  // by a token that ends texts, which is not counted

	Warnings []string `json:"warnings,omitempty"`
}

// Text returns prompt's continuation, without the prompt, by the model in baseDir
// with the adapter in adapterDir, or the base alone where that is "".
func Text(ctx context.Context, baseDir, adapterDir, prompt string, o Options) (string, error) {
	dev, err := devices.Default(o.Threads).Open(devices.FP32)
	if err != nil {
		return "", err
	}
	defer dev.Close()
	r, err := Run(ctx, dev, baseDir, adapterDir, prompt, o)
	return r.Text, err
}

// Run is Text on a device of the caller's.
func Run(ctx context.Context, dev kernels.Device, baseDir, adapterDir, prompt string, o Options) (r Result, err error) {
	if err := o.check(); err != nil {
		return r, err
	}
	m, err := base.Open(baseDir)
	if err != nil {
		return r, err
	}
	defer m.Close()
	before := m.BOS
	if o.Chat {
		if prompt, err = conversation(ctx, baseDir, prompt); err != nil {
			return r, err
		}
		before = nil // a chat template writes it
	}
	ids := m.Tokenizer.AppendEncode(before, prompt)
	if len(ids) == 0 {
		return r, scu.Errorf(scu.CodeInvalid, "the prompt is empty").At("prompt")
	}
	room := m.Spec.Positions - len(ids)
	if o.MaxTokens == 0 {
		o.MaxTokens = max(1, min(defaultTokens, room))
	}
	if o.MaxTokens > room {
		return r, scu.Errorf(scu.CodeInvalid, "%d tokens of prompt and %d new ones are more than the model's %d positions", len(ids), o.MaxTokens, m.Spec.Positions)
	}
	length := len(ids) + o.MaxTokens
	weights, err := model.Load(dev, m.Spec, m.Weights, length)
	if err != nil {
		return r, base.Within("base_model", err)
	}
	defer weights.Close()
	dec := weights.With(nil)
	if adapterDir != "" {
		if err := base.SameBase(adapterDir, m.Weights); err != nil {
			r.Warnings = append(r.Warnings, err.Error())
		}
		a, err := lora.Load(dev, adapterDir, m.Spec.Targets(), m.Spec.DefaultTargets)
		if err != nil {
			return r, base.Within("adapter", err)
		}
		defer a.Close()
		dec = weights.With(a)
	}
	cache, err := dec.NewCache(length)
	if err != nil {
		return r, err
	}
	defer cache.Close()
	out, ended, err := sample(ctx, cache, ids, m.Ends, o)
	r.Text, r.PromptTokens, r.Tokens, r.Ended = continuation(m.Tokenizer, ids, out), len(ids), len(out), ended
	return r, err
}

// conversation writes a prompt through the chat template of the model in dir.
func conversation(ctx context.Context, dir, prompt string) (string, error) {
	template, err := data.LoadChatTemplate(dir)
	if err != nil {
		return "", base.Within("base_model", err)
	}
	if template == nil {
		return "", scu.Errorf(scu.CodeInvalid, "the model has no chat template").At("base_model").
			WithHint("take its chat or instruct version, put a chat_template.jinja into its folder, or write the prompt out and leave --chat off")
	}
	messages := []byte(prompt)
	if !strings.HasPrefix(strings.TrimSpace(prompt), "[") {
		if strings.TrimSpace(prompt) == "" {
			return "", scu.Errorf(scu.CodeInvalid, "the prompt is empty").At("prompt")
		}
		if messages, err = json.Marshal([]map[string]string{{"role": "user", "content": prompt}}); err != nil {
			return "", err
		}
	}
	text, err := template.Prompt(ctx, messages)
	return text, base.Within("prompt", err)
}

func (o Options) check() error {
	switch {
	case o.MaxTokens < 0:
		return scu.Errorf(scu.CodeInvalid, "%d is below 0", o.MaxTokens).At("max_tokens")
	case !(o.Temperature >= 0 && o.Temperature <= 100): // NaN too
		return scu.Errorf(scu.CodeInvalid, "%v is out of range; it goes from 0 to 100", o.Temperature).At("temperature")
	case o.TopK < 0:
		return scu.Errorf(scu.CodeInvalid, "%d is below 0", o.TopK).At("top_k")
	case !(o.TopP >= 0 && o.TopP <= 1):
		return scu.Errorf(scu.CodeInvalid, "%v is out of range; it goes from 0 to 1", o.TopP).At("top_p")
	}
	return nil
}

// sample adds tokens one by one; ended says that one of ends came.
func sample(ctx context.Context, cache *model.Cache, ids, ends []int32, o Options) (out []int32, ended bool, err error) {
	for next := ids; len(out) < o.MaxTokens; {
		logits, err := cache.Next(ctx, next)
		if err != nil {
			return out, false, err
		}
		id := o.choose(logits, len(out))
		if slices.Contains(ends, id) {
			return out, true, nil
		}
		out = append(out, id)
		next = out[len(out)-1:]
	}
	return out, false, nil
}

// choose picks the n-th new token.
func (o Options) choose(logits []float32, n int) int32 {
	best := 0
	for i, x := range logits {
		if x > logits[best] {
			best = i
		}
	}
	if o.Temperature == 0 {
		return int32(best)
	}
	from := make([]int, len(logits)) // tokens to choose from
	for i := range from {
		from[i] = i
	}
	most := o.TopP > 0 && o.TopP < 1
	if cut := o.TopK > 0 && o.TopK < len(from); cut || most {
		slices.SortFunc(from, func(a, b int) int { return cmp.Or(cmp.Compare(logits[b], logits[a]), a-b) })
		if cut {
			from = from[:o.TopK]
		}
	}
	var total float64
	weights := make([]float64, len(from))
	for i, j := range from {
		weights[i] = math.Exp(float64(logits[j]-logits[best]) / o.Temperature)
		total += weights[i]
	}
	if most {
		share, kept := o.TopP*total, 0
		for total = 0; kept < len(weights) && total < share; kept++ {
			total += weights[kept]
		}
		from, weights = from[:kept], weights[:kept]
	}
	u := random.Uniform(random.Key(uint64(o.Seed), random.StreamSample), uint64(n)) * total
	for i, w := range weights {
		if u -= w; u < 0 {
			return int32(from[i])
		}
	}
	return int32(best) // rounding left a little of u
}

// continuation is the text of out as it follows prompt: a token's text may depend
// on those before it.
func continuation(tok *tokenizer.Tokenizer, prompt, out []int32) string {
	whole := tok.Decode(slices.Concat(prompt, out), true)
	if rest, ok := strings.CutPrefix(whole, tok.Decode(prompt, true)); ok {
		return rest
	}
	return tok.Decode(out, true)
}
