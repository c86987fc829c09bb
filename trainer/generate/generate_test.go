package generate

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/model"
)

const (
	bookworm = "../../models/bookworm-2m"
	prompt   = "It was the best of"
)

// Greedy generation takes the likeliest token of a pass over all tokens before it.
func TestGreedyIsArgmaxOfAFullPass(t *testing.T) {
	ctx := context.Background()
	dev := device(t)
	got, err := Run(ctx, dev, bookworm, "", prompt, Options{MaxTokens: 12})
	must(t, err)
	if got.Tokens != 12 || got.Ended || got.Text == "" {
		t.Fatalf("%+v", got)
	}

	m, err := base.Open(bookworm)
	must(t, err)
	defer m.Close()
	weights, err := model.Load(dev, m.Spec, m.Weights, 64)
	must(t, err)
	defer weights.Close()
	dec := weights.With(nil)
	w, err := dec.NewWorkspace(model.WorkspaceOptions{Batch: 1, Len: 64})
	must(t, err)
	defer w.Close()
	ids := m.Tokenizer.Encode(prompt)
	start := len(ids)
	for range got.Tokens {
		none := slices.Repeat([]int32{-1}, len(ids))
		logits, err := dec.Logits(ctx, w, model.Batch{Rows: 1, Len: len(ids), IDs: ids, Targets: none}, []int{len(ids) - 1})
		must(t, err)
		best := slices.Index(logits, slices.Max(logits))
		ids = append(ids, int32(best))
	}
	if want := m.Tokenizer.Decode(ids[start:], true); got.Text != want {
		t.Errorf("generated %q, full passes give %q", got.Text, want)
	}
}

// A conversation is written through the model's chat template; one that has none
// says so.
func TestChat(t *testing.T) {
	ctx, dev := context.Background(), device(t)
	want, err := Run(ctx, dev, bookworm, "", "User: hi\nAssistant:", Options{MaxTokens: 8})
	must(t, err)
	for _, prompt := range []string{"hi", ` [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]`} {
		got, err := Run(ctx, dev, bookworm, "", prompt, Options{MaxTokens: 8, Chat: true})
		must(t, err)
		if got.Text != want.Text || got.PromptTokens != want.PromptTokens {
			t.Errorf("%s: %+v, want %+v", prompt, got, want)
		}
	}
	for prompt, says := range map[string]string{" ": "empty", "[]": "empty", `[{"role": "tool", "content": "x"}]`: "the roles are"} {
		if _, err := Run(ctx, dev, bookworm, "", prompt, Options{Chat: true}); scu.CodeOf(err) != scu.CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v", prompt, err)
		}
	}
	plain := t.TempDir()
	must(t, os.CopyFS(plain, os.DirFS(bookworm)))
	must(t, os.Remove(filepath.Join(plain, "chat_template.jinja")))
	if _, err := Run(ctx, dev, plain, "", "hi", Options{Chat: true}); err == nil || !strings.Contains(err.Error(), "no chat template") {
		t.Errorf("error %v", err)
	}
}

// The same seed gives the same text, another seed another; one kept token is the
// likeliest.
func TestSampling(t *testing.T) {
	ctx, dev := context.Background(), device(t)
	text := func(o Options) string {
		o.MaxTokens = 24
		r, err := Run(ctx, dev, bookworm, "", prompt, o)
		must(t, err)
		return r.Text
	}
	a, b, c := text(Options{Temperature: 1, Seed: 1}), text(Options{Temperature: 1, Seed: 1}), text(Options{Temperature: 1, Seed: 2})
	if a != b || a == c {
		t.Errorf("seed 1 twice: %q and %q; seed 2: %q", a, b, c)
	}
	if one, greedy := text(Options{Temperature: 1, TopK: 1, Seed: 5}), text(Options{}); one != greedy {
		t.Errorf("the one likeliest token gives %q, greedy %q", one, greedy)
	}
}

// A token is chosen about as often as its probability says, and never beyond the
// kept ones.
func TestChooseFollowsTheProbabilities(t *testing.T) {
	logits := []float32{0, float32(math.Log(2)), float32(math.Log(5)), -1000}
	count := func(o Options) (n [4]int) {
		for i := range 8000 {
			n[o.choose(logits, i)]++
		}
		return n
	}
	n := count(Options{Temperature: 1, Seed: 3})
	for i, p := range []float64{1. / 8, 2. / 8, 5. / 8, 0} {
		if math.Abs(float64(n[i])/8000-p) > 0.02 {
			t.Errorf("token %d: %d of 8000, probability %v", i, n[i], p)
		}
	}
	if n = count(Options{Temperature: 1, Seed: 3, TopK: 2}); n[0] != 0 || math.Abs(float64(n[1])/8000-2./7) > 0.02 {
		t.Errorf("two kept tokens: %v", n)
	}
	nan := float32(math.NaN())
	if id := (Options{Temperature: 1}).choose([]float32{nan, nan}, 0); id != 0 {
		t.Errorf("no number at all: token %d", id)
	}
}

// A text ends at a token that ends texts.
func TestEnds(t *testing.T) {
	m, err := base.Open(bookworm)
	must(t, err)
	defer m.Close()
	weights, err := model.Load(device(t), m.Spec, m.Weights, 32)
	must(t, err)
	defer weights.Close()
	dec := weights.With(nil)
	ids := m.Tokenizer.Encode(prompt)
	run := func(ends ...int32) ([]int32, bool) {
		cache, err := dec.NewCache(32)
		must(t, err)
		defer cache.Close()
		out, ended, err := sample(context.Background(), cache, ids, ends, Options{MaxTokens: 8})
		must(t, err)
		return out, ended
	}
	all, ended := run()
	if ended || len(all) != 8 {
		t.Fatalf("%v, ended %v", all, ended)
	}
	at := slices.Index(all, all[5])
	if out, ended := run(m.EOS, all[5]); !ended || !slices.Equal(out, all[:at]) {
		t.Errorf("ended %v with %v, want %v", ended, out, all[:at])
	}
}

func TestRefusals(t *testing.T) {
	ctx, dev := context.Background(), device(t)
	for _, c := range []struct {
		base, adapter, prompt string
		o                     Options
		says                  string
	}{
		{bookworm, "", "", Options{}, "prompt"},
		{bookworm, "", prompt, Options{MaxTokens: -1}, "max_tokens"},
		{bookworm, "", prompt, Options{MaxTokens: 1 << 30}, "positions"},
		{bookworm, "", strings.Repeat("word ", 5000), Options{}, "positions"},
		{bookworm, "", prompt, Options{Temperature: math.NaN()}, "temperature"},
		{bookworm, "", prompt, Options{TopK: -1}, "top_k"},
		{bookworm, t.TempDir(), prompt, Options{}, "adapter"},
		{t.TempDir(), "", prompt, Options{}, "config.json"},
	} {
		_, err := Run(ctx, dev, c.base, c.adapter, c.prompt, c.o)
		if code := scu.CodeOf(err); code != scu.CodeInvalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.20q %+v: %v", c.prompt, c.o, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Run(ended, dev, bookworm, "", prompt, Options{}); err == nil {
		t.Error("generated though cancelled")
	}
}

func device(t *testing.T) kernels.Device {
	t.Helper()
	dev, err := cpu.New(2)
	must(t, err)
	t.Cleanup(func() { dev.Close() })
	return dev
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
