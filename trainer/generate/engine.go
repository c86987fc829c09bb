package generate

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/model"
)

// Bounds of an engine.
const (
	// MaxContext is the longest text, prompt and continuation together, in tokens.
	MaxContext = 4096
	maxWaiting = 64              // requests that wait for their turn
	maxTime    = 5 * time.Minute // of one text; it ends there as at its last token
	idleTime   = 5 * time.Minute // until an unused base is dropped
	tight      = 0.9             // of the available memory that a base may take
)

// Engine continues texts, one at a time. The base model of the last one stays loaded,
// with the adapters that were used on it beside its frozen weights: going from one to
// another, or to none, loads no base. Unused, all of it is dropped. It is safe for
// concurrent use.
type Engine struct {
	bases    *base.Finder
	adapters scu.Adapters
	kind     devices.Kind
	log      *slog.Logger
	idle     time.Duration

	waiting atomic.Int64
	turn    chan struct{} // holds one token, which gives the right to all below

	dev     kernels.Device
	base    *base.Model
	name    string // of base
	weights *model.Weights
	chat    *data.ChatTemplate
	beside  []adapter // the last used last
	loads   int       // of bases, ever
	unload  *time.Timer
	used    time.Time
}

// NewEngine makes an engine that computes on a device of a kind. Nothing is opened yet.
func NewEngine(bases *base.Finder, adapters scu.Adapters, kind devices.Kind, log *slog.Logger) *Engine {
	e := &Engine{bases: bases, adapters: adapters, kind: kind, log: log, idle: idleTime, turn: make(chan struct{}, 1)}
	e.turn <- struct{}{}
	return e
}

// Generate continues a text when its turn has come, and gives each new token to emit. It
// ends with ctx, or with an error of emit, which it returns.
func (e *Engine) Generate(ctx context.Context, g scu.Generation, emit func(scu.Piece) error) (out scu.Generated, err error) {
	o := Options{MaxTokens: g.MaxTokens, Temperature: g.Temperature, TopK: g.TopK, TopP: g.TopP, Seed: g.Seed}
	if err := o.check(); err != nil {
		return out, err
	}
	defer e.waiting.Add(-1)
	if e.waiting.Add(1) > maxWaiting {
		return out, scu.Errorf(scu.CodeUnavailable, "%d requests wait for the model, which is the limit", maxWaiting).WithHint("try again")
	}
	select {
	case <-e.turn:
	case <-ctx.Done():
		return out, ctx.Err()
	}
	defer e.rest()
	dec, err := e.decoder(ctx, g)
	if err != nil {
		return out, err
	}
	ids, err := e.prompt(ctx, g)
	if err != nil {
		return out, err
	}
	room := e.context() - len(ids)
	if room < 1 {
		return out, scu.Errorf(scu.CodeInvalid, "the prompt has %d tokens, and with one more the model reads at most %d here", len(ids), e.context()).At("prompt")
	}
	if o.MaxTokens == 0 || o.MaxTokens > room {
		o.MaxTokens = room
	}
	cache, err := dec.NewCache(len(ids) + o.MaxTokens)
	if err != nil {
		return out, err
	}
	defer cache.Close()
	out.PromptTokens = len(ids)
	err = e.continued(ctx, cache, ids, o, g, &out, emit)
	return out, err
}

// continued adds tokens one by one.
func (e *Engine) continued(ctx context.Context, cache *model.Cache, ids []int32, o Options, g scu.Generation, out *scu.Generated, emit func(scu.Piece) error) error {
	deadline := time.Now().Add(maxTime)
	first, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	logits, err := cache.Next(first, ids)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return scu.Errorf(scu.CodeTooLarge, "reading the prompt of %d tokens took more than %v", len(ids), maxTime).At("prompt").WithHint("send a shorter one")
	}
	text, end := newText(e.base.Tokenizer, ids), stops{list: g.Stop}
	for err == nil {
		id := o.choose(logits, out.Tokens)
		if slices.Contains(e.base.Ends, id) {
			out.Ended = true
			break
		}
		out.Tokens++
		p := scu.Piece{}
		if g.Alternatives >= 0 {
			p.Token = chance(e.base.Tokenizer, logits, id, g.Alternatives)
		}
		p.Text, out.Ended = end.add(text.add(id))
		if err := emit(p); err != nil {
			return err
		}
		if out.Ended {
			return nil
		}
		if out.Tokens == o.MaxTokens || time.Now().After(deadline) {
			break
		}
		logits, err = cache.Next(ctx, []int32{id})
	}
	if err != nil {
		return err
	}
	settled, stopped := end.add(text.rest())
	out.Ended = out.Ended || stopped
	if rest := settled + end.held; rest != "" {
		return emit(scu.Piece{Text: rest})
	}
	return nil
}

// prompt is what is continued, in tokens.
func (e *Engine) prompt(ctx context.Context, g scu.Generation) (ids []int32, err error) {
	switch {
	case g.Messages != nil:
		if e.chat == nil {
			return nil, scu.Errorf(scu.CodeInvalid, "the model has no chat template").At("base_model").
				WithHint("take its chat or instruct version, or send a plain prompt")
		}
		text, err := e.chat.Prompt(ctx, g.Messages)
		if err != nil {
			return nil, base.Within("messages", err)
		}
		ids = e.base.Tokenizer.AppendEncode(nil, text)
	case g.Tokens != nil:
		ids = g.Tokens
		for _, id := range ids {
			if id < 0 || int(id) >= e.base.Spec.Vocab {
				return nil, scu.Errorf(scu.CodeInvalid, "the model has no token %d; it has %d", id, e.base.Spec.Vocab).At("prompt")
			}
		}
	default:
		ids = e.base.Tokenizer.AppendEncode(slices.Clone(e.base.BOS), g.Prompt)
	}
	if len(ids) == 0 {
		return nil, scu.Errorf(scu.CodeInvalid, "the prompt is empty").At("prompt")
	}
	return ids, nil
}

// context is how many tokens a text may have.
func (e *Engine) context() int { return min(e.base.Spec.Positions, MaxContext) }

// decoder is the base that is asked for, with the adapter beside it.
func (e *Engine) decoder(ctx context.Context, g scu.Generation) (*model.Decoder, error) {
	if e.base == nil || e.name != g.BaseModel || !e.base.Unchanged() {
		e.drop()
		if err := e.load(ctx, g.BaseModel); err != nil {
			e.drop()
			return nil, err
		}
	}
	if g.Adapter.Job == "" {
		return e.weights.With(nil), nil
	}
	a, err := e.adapter(ctx, g.Adapter)
	if err != nil {
		return nil, err
	}
	return e.weights.With(a), nil
}

// load opens a base and its weights, if they fit the memory. Of a model of the Hub, what
// it will take is known before it is fetched.
func (e *Engine) load(ctx context.Context, name string) (err error) {
	begin := time.Now()
	if e.dev == nil {
		if e.dev, err = e.kind.Open(devices.FP32); err != nil {
			return err
		}
	}
	m, err := e.bases.Outline(ctx, name)
	if err != nil {
		return err
	}
	if err := e.fits(m); err != nil {
		m.Close()
		return err
	}
	if m.Commit != "" {
		m.Close()
		dir, err := e.bases.Locate(ctx, name)
		if err != nil {
			return err
		}
		if m, err = base.Open(dir); err != nil {
			return err
		}
	}
	e.base, e.name = m, name
	if e.chat, err = data.LoadChatTemplate(m.Dir); err != nil {
		return base.Within("base_model", err)
	}
	if e.weights, err = model.Load(e.dev, m.Spec, m.Weights, e.context()); err != nil {
		return base.Within("base_model", err)
	}
	e.loads++
	e.log.InfoContext(ctx, "a base model is loaded to generate", "model", name, "took", time.Since(begin))
	return nil
}

// fits refuses a base of which the weights, and the keys and values of the longest text,
// take more memory than there is.
func (e *Engine) fits(m *base.Model) error {
	free, _ := e.kind.Available()
	if free == 0 {
		return nil
	}
	var needs int64
	for _, name := range m.Weights.Names() {
		t, _ := m.Weights.Tensor(name)
		needs += t.Size()
	}
	for i := range m.Spec.Layers {
		a := &m.Spec.Layers[i].Attn
		needs += int64(min(m.Spec.Positions, MaxContext)) * int64((a.K.N+a.V.N)*a.HeadDim) * 4
	}
	if float64(needs) > tight*float64(free) {
		return scu.Errorf(scu.CodeMemory, "the model takes %d MiB of the %d MiB of memory that are available", needs>>20, free>>20).At("base_model").
			WithHint("fetch the adapter, and load it elsewhere")
	}
	return nil
}

// rest gives the turn on, and sees that what isn't used is dropped in the end.
func (e *Engine) rest() {
	e.used = time.Now()
	if e.unload == nil {
		e.unload = time.AfterFunc(e.idle, e.dropUnused)
	} else {
		e.unload.Reset(e.idle)
	}
	e.turn <- struct{}{}
}

func (e *Engine) dropUnused() {
	<-e.turn
	if time.Since(e.used) >= e.idle {
		e.drop()
	}
	e.turn <- struct{}{}
}

// drop gives back what is loaded; the device stays.
func (e *Engine) drop() {
	for _, a := range e.beside {
		a.weights.Close()
	}
	e.beside = nil
	if e.weights != nil {
		e.weights.Close()
		e.weights = nil
	}
	if e.base != nil {
		e.base.Close()
		e.base, e.chat = nil, nil
	}
}

// Close waits for the text that is being made, and gives everything back. Nothing is
// generated after it.
func (e *Engine) Close() {
	<-e.turn
	if e.unload != nil {
		e.unload.Stop()
	}
	e.drop()
	if e.dev != nil {
		e.dev.Close()
		e.dev = nil
	}
}
