package generate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// zips are stored adapters.
type zips map[string][]byte

func (z zips) GetAdapter(_ context.Context, key scu.AdapterKey) (io.ReadCloser, int64, error) {
	b, ok := z[key.Job]
	if !ok {
		return nil, 0, scu.Errorf(scu.CodeNotFound, "no adapter of %s", key.Job)
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}
func (z zips) PutAdapter(context.Context, scu.AdapterKey, io.Reader) (int64, string, error) {
	return 0, "", errors.ErrUnsupported
}
func (z zips) DeleteAdapter(context.Context, scu.AdapterKey) error { return errors.ErrUnsupported }

// engine makes one over an adapter "strong", which changes the model a lot; dir is its folder.
func engine(t *testing.T) (e *Engine, dir string) {
	t.Helper()
	m, err := base.Open(bookworm)
	must(t, err)
	defer m.Close()
	cfg := scu.DefaultConfig().LoRA
	cfg.R, cfg.Alpha = 2, 4
	modules, err := m.Modules(cfg)
	must(t, err)
	w := lora.Init(modules, 1)
	for i := range w {
		w[i] += 0.3 * float32(math.Sin(float64(i)))
	}
	dir = t.TempDir()
	config, err := lora.PEFTConfig(scu.BuiltInModel, lora.Names(m.Spec.Targets(), m.Spec.DefaultTargets, cfg), modules, cfg)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, lora.ConfigFile), config, 0o600))
	weights, err := lora.Weights(modules, w)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, lora.WeightsFile), weights, 0o600))
	var zip bytes.Buffer
	must(t, base.ZipAdapter(&zip, dir))
	e = NewEngine(&base.Finder{Dir: t.TempDir()}, zips{"strong": zip.Bytes()}, devices.CPU(2), slog.New(slog.DiscardHandler))
	t.Cleanup(e.Close)
	return e, dir
}

func (e *Engine) text(t *testing.T, g scu.Generation) (string, scu.Generated) {
	t.Helper()
	if g.BaseModel == "" {
		g.BaseModel = scu.BuiltInModel
	}
	var b strings.Builder
	out, err := e.Generate(t.Context(), g, func(p scu.Piece) error { b.WriteString(p.Text); return nil })
	must(t, err)
	return b.String(), out
}

// The engine gives the text that a run of its own gives, with the adapter and without,
// and goes from one to the other without loading the base again.
func TestEngineSwapsAdapters(t *testing.T) {
	e, dir := engine(t)
	want := map[string]string{}
	for job, adapter := range map[string]string{"": "", "strong": dir} {
		r, err := Run(t.Context(), device(t), bookworm, adapter, prompt, Options{MaxTokens: 12, Temperature: 0.8, Seed: 3})
		must(t, err)
		want[job] = r.Text
	}
	if want[""] == want["strong"] {
		t.Fatalf("the adapter changes nothing: %q", want[""])
	}
	for _, job := range []string{"", "strong", "", "strong"} {
		got, out := e.text(t, scu.Generation{Prompt: prompt, Adapter: scu.AdapterKey{Job: job, Attempt: 1}, MaxTokens: 12, Temperature: 0.8, Seed: 3, Alternatives: -1})
		if got != want[job] || out.Tokens != 12 || out.Ended {
			t.Errorf("with %q: %q, want %q; %+v", job, got, want[job], out)
		}
	}
	if e.loads != 1 || len(e.beside) != 1 {
		t.Errorf("the base was loaded %d times, with %d adapters", e.loads, len(e.beside))
	}
}

// Several callers are served one after the other, each as if alone.
func TestEngineTakesTurns(t *testing.T) {
	e, _ := engine(t)
	var wg sync.WaitGroup
	texts := make([]string, 6)
	for i := range texts {
		wg.Go(func() {
			job := ""
			if i%2 == 1 {
				job = "strong"
			}
			texts[i], _ = e.text(t, scu.Generation{Prompt: prompt, Adapter: scu.AdapterKey{Job: job}, MaxTokens: 8, Alternatives: -1})
		})
	}
	wg.Wait()
	for i, text := range texts {
		if text == "" || text != texts[i%2] {
			t.Errorf("caller %d has %q, want %q", i, text, texts[i%2])
		}
	}
	if e.loads != 1 {
		t.Errorf("loaded %d times", e.loads)
	}
}

// A stop ends the text before itself, though it comes in several tokens.
func TestEngineStops(t *testing.T) {
	e, _ := engine(t)
	whole, _ := e.text(t, scu.Generation{Prompt: prompt, MaxTokens: 12, Alternatives: -1})
	stop := whole[len(whole)/2 : len(whole)/2+4]
	got, out := e.text(t, scu.Generation{Prompt: prompt, MaxTokens: 12, Stop: []string{"\x00", stop}, Alternatives: -1})
	if want, _, _ := strings.Cut(whole, stop); got != want || !out.Ended || out.Tokens >= 12 {
		t.Errorf("%q with the stop %q, want %q; %+v", got, stop, want, out)
	}
}

// Probabilities belong to the tokens: greedily each is the likeliest.
func TestEngineChances(t *testing.T) {
	e, _ := engine(t)
	n := 0
	_, err := e.Generate(t.Context(), scu.Generation{BaseModel: scu.BuiltInModel, Prompt: prompt, MaxTokens: 5, Alternatives: 3}, func(p scu.Piece) error {
		n++
		if c := p.Token; c == nil || len(c.Others) != 3 || c.Others[0].LogProb != c.LogProb || c.LogProb > 0 || c.Others[1].LogProb > c.LogProb {
			t.Errorf("%+v", c)
		}
		return nil
	})
	if err != nil || n != 5 {
		t.Errorf("%d tokens, %v", n, err)
	}
}

// Who leaves ends the text, and the next one begins.
func TestEngineLeft(t *testing.T) {
	e, _ := engine(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := e.Generate(ctx, scu.Generation{BaseModel: scu.BuiltInModel, Prompt: prompt, Alternatives: -1}, func(scu.Piece) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	full := errors.New("full")
	if _, err := e.Generate(t.Context(), scu.Generation{BaseModel: scu.BuiltInModel, Prompt: prompt, Alternatives: -1}, func(scu.Piece) error { return full }); err != full {
		t.Errorf("error %v", err)
	}
	if text, _ := e.text(t, scu.Generation{Prompt: prompt, MaxTokens: 2, Alternatives: -1}); text == "" {
		t.Error("no text after it")
	}
}

// What isn't used is given back, and loaded again when it is wanted.
func TestEngineDropsUnused(t *testing.T) {
	e, _ := engine(t)
	e.text(t, scu.Generation{Prompt: prompt, MaxTokens: 1, Alternatives: -1})
	e.idle, e.used = 0, time.Now().Add(-time.Second)
	e.dropUnused()
	if e.base != nil || e.weights != nil {
		t.Error("the base is still loaded")
	}
	e.idle = idleTime
	if e.text(t, scu.Generation{Prompt: prompt, MaxTokens: 1, Alternatives: -1}); e.loads != 2 {
		t.Errorf("loaded %d times", e.loads)
	}
}

func TestEngineRefuses(t *testing.T) {
	e, _ := engine(t)
	for _, c := range []struct {
		g    scu.Generation
		code scu.Code
		says string
	}{
		{scu.Generation{}, scu.CodeInvalid, "the prompt is empty"},
		{scu.Generation{Prompt: strings.Repeat("word ", 5000)}, scu.CodeInvalid, "at most"},
		{scu.Generation{Tokens: []int32{-1}}, scu.CodeInvalid, "no token -1"},
		{scu.Generation{Prompt: prompt, TopP: 2}, scu.CodeInvalid, "top_p"},
		{scu.Generation{Prompt: prompt, BaseModel: "nobody/nothing"}, scu.CodeInvalid, "no model"},
		{scu.Generation{Prompt: prompt, Adapter: scu.AdapterKey{Job: "other"}}, scu.CodeNotFound, "no adapter"},
		{scu.Generation{Messages: []byte(`[{"role": "tool", "content": "x"}]`)}, scu.CodeInvalid, "the roles are"},
	} {
		if c.g.BaseModel == "" {
			c.g.BaseModel = scu.BuiltInModel
		}
		_, err := e.Generate(t.Context(), c.g, func(scu.Piece) error { t.Error("a token"); return nil })
		if scu.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.g, err)
		}
	}
	small := devices.CPU(1)
	small.Available = func() (int64, int64) { return 1 << 20, 1 << 30 }
	e.drop()
	e.kind = small
	if _, err := e.Generate(t.Context(), scu.Generation{BaseModel: scu.BuiltInModel, Prompt: prompt}, nil); scu.CodeOf(err) != scu.CodeMemory {
		t.Errorf("a base that doesn't fit: %v", err)
	}
}

// A stop that may have begun is held back until it is one or isn't.
func TestStops(t *testing.T) {
	for _, c := range []struct{ pieces, stops, settled []string }{
		{[]string{"ab", "c", "d"}, []string{"cd"}, []string{"ab", "", ""}},
		{[]string{"ab", "c", "e"}, []string{"cd"}, []string{"ab", "", "ce"}},
		{[]string{"aab"}, []string{"b", "ab"}, []string{"a"}},
		{[]string{"x"}, nil, []string{"x"}},
	} {
		s := stops{list: c.stops}
		for i, p := range c.pieces {
			if got, _ := s.add(p); got != c.settled[i] {
				t.Errorf("%q of %v: %q, want %q", p, c, got, c.settled[i])
			}
		}
	}
}

// The kept tokens have the share together that is asked for.
func TestTopP(t *testing.T) {
	logits := []float32{0, float32(math.Log(2)), float32(math.Log(5)), -1000}
	var n [4]int
	for i := range 4000 {
		n[Options{Temperature: 1, Seed: 3, TopP: 0.7}.choose(logits, i)]++
	}
	if n[0] != 0 || n[3] != 0 || math.Abs(float64(n[1])/4000-2./7) > 0.03 {
		t.Errorf("%v", n)
	}
}
