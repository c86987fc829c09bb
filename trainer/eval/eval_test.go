package eval

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
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
)

const (
	bookworm = "../../models/bookworm-2m"
	text     = "It was the best of times, it was the worst of times; it was the age of wisdom, it was the age of foolishness.\n"
)

// The loss is that of the logits' softmax, block by block, and the other figures
// follow from it.
func TestFigures(t *testing.T) {
	ctx, dev := context.Background(), device(t)
	path := file(t, "text.txt", strings.Repeat(text, 12))
	o := Options{Base: bookworm, Config: scu.DefaultConfig()}
	o.Config.BlockSize, o.Config.BatchSize = 128, 3
	got, warnings, err := Run(ctx, dev, path, o)
	must(t, err)

	m, err := base.Open(bookworm)
	must(t, err)
	defer m.Close()
	ids := append(m.Tokenizer.Encode(strings.Repeat(text, 12)), m.EOS)
	weights, err := model.Load(dev, m.Spec, m.Weights, 128)
	must(t, err)
	defer weights.Close()
	dec := weights.With(nil)
	w, err := dec.NewWorkspace(model.WorkspaceOptions{Batch: 1, Len: 128})
	must(t, err)
	defer w.Close()
	var nats float64
	var tokens, bytes int64
	for block := range slices.Chunk(ids, 128) {
		none := slices.Repeat([]int32{-1}, len(block))
		rows := make([]int, len(block)-1)
		for i := range rows {
			rows[i] = i
		}
		logits, err := dec.Logits(ctx, w, model.Batch{Rows: 1, Len: len(block), IDs: block, Targets: none}, rows)
		must(t, err)
		for i := range rows {
			nats += negativeLogProbability(logits[i*m.Spec.Vocab:(i+1)*m.Spec.Vocab], block[i+1])
			tokens++
		}
		bytes += int64(len(m.Tokenizer.Decode(block[1:], true)))
	}
	want := nats / float64(tokens)
	if got.Tokens != tokens || got.Bytes != bytes || got.Blocks != (len(ids)+127)/128 || math.Abs(got.Loss-want) > 1e-5 || len(warnings) != 0 {
		t.Errorf("got %+v and %q, want a loss of %v over %d tokens and %d bytes", got, warnings, want, tokens, bytes)
	}
	for name, pair := range map[string][2]float64{
		"perplexity":   {got.Perplexity, math.Exp(got.Loss)},
		"bits a token": {got.BitsPerToken, got.Loss / math.Ln2},
		"bits a byte":  {got.BitsPerByte, got.Loss / math.Ln2 * float64(tokens) / float64(bytes)},
	} {
		if math.Abs(pair[0]-pair[1]) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, pair[0], pair[1])
		}
	}

	o.Config.BatchSize = 1
	one, _, err := Run(ctx, dev, path, o)
	must(t, err)
	if math.Abs(one.Loss-got.Loss) > 1e-6 {
		t.Errorf("one block at a time: %v, three: %v", one.Loss, got.Loss)
	}
}

func negativeLogProbability(logits []float32, target int32) float64 {
	top, sum := float64(slices.Max(logits)), 0.0
	for _, x := range logits {
		sum += math.Exp(float64(x) - top)
	}
	return math.Log(sum) + top - float64(logits[target])
}

// Only completions count where that is asked, and an adapter makes a difference.
func TestCompletionsAndAdapter(t *testing.T) {
	ctx, dev := context.Background(), device(t)
	path := file(t, "rows.jsonl", strings.Repeat(`{"prompt": "It was the best of", "completion": " times, it was the worst of times"}`+"\n", 8))
	o := Options{Base: bookworm, Config: scu.DefaultConfig()}
	o.Config.BlockSize = 128
	all, _, err := Run(ctx, dev, path, o)
	must(t, err)
	o.Config.TrainOn = scu.TrainOnCompletion
	some, warnings, err := Run(ctx, dev, path, o)
	must(t, err)
	if some.Tokens >= all.Tokens || some.Bytes >= all.Bytes || len(warnings) == 0 {
		t.Errorf("completions %+v, everything %+v, warnings of the same row again %q", some, all, warnings)
	}
	o.Adapter = adapter(t)
	adapted, _, err := Run(ctx, dev, path, o)
	must(t, err)
	if adapted.Loss == some.Loss || adapted.Tokens != some.Tokens {
		t.Errorf("adapted %+v, base %+v", adapted, some)
	}
	must(t, os.WriteFile(filepath.Join(o.Adapter, base.TrainingFile), []byte(`{"base_model": "owner/other", "base_fingerprint": "0123456789abcdef"}`), 0o600))
	_, warnings, err = Run(ctx, dev, path, o)
	if err != nil || !strings.Contains(warnings[0], "trained on another base, of fingerprint 0123456789ab") {
		t.Errorf("on another base: %q, %v", warnings, err)
	}
}

// adapter writes a random adapter of bookworm.
func adapter(t *testing.T) string {
	m, err := base.Open(bookworm)
	must(t, err)
	defer m.Close()
	cfg := scu.LoRAConfig{R: 4, Alpha: 8, TargetModules: []string{scu.AllLinear}}
	modules, err := m.Modules(cfg)
	must(t, err)
	param := lora.Init(modules, 1)
	for i := range param {
		param[i] += 0.02 * float32(i%7-3)
	}
	weights, err := lora.Weights(modules, param)
	must(t, err)
	config, err := lora.PEFTConfig("bookworm-2m", lora.Names(m.Spec.Targets(), m.Spec.DefaultTargets, cfg), modules, cfg)
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, lora.WeightsFile), weights, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, lora.ConfigFile), config, 0o600))
	return dir
}

func TestRefusals(t *testing.T) {
	ctx, dev := context.Background(), device(t)
	good := file(t, "text.txt", text)
	var asked scu.Config
	must(t, asked.Merge(map[string]any{"block_size": 100000.0, "batch_size": 1.0}))
	for _, c := range []struct {
		name, path string
		o          Options
		field      string
	}{
		{"no model", good, Options{Base: t.TempDir(), Config: scu.DefaultConfig()}, "base_model"},
		{"no adapter", good, Options{Base: bookworm, Adapter: t.TempDir(), Config: scu.DefaultConfig()}, "adapter"},
		{"empty data", file(t, "empty.txt", ""), Options{Base: bookworm, Config: scu.DefaultConfig()}, "data"},
		{"bad line", file(t, "bad.jsonl", "{\"text\": 5}\n"), Options{Base: bookworm, Config: scu.DefaultConfig()}, "data"},
		{"block too long", good, Options{Base: bookworm, Config: asked}, "block_size"},
	} {
		_, _, err := Run(ctx, dev, c.path, c.o)
		if e := scu.AsError(err); e.Code != scu.CodeInvalid || e.Field != c.field {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func device(t *testing.T) kernels.Device {
	t.Helper()
	dev, err := cpu.New(2)
	must(t, err)
	t.Cleanup(func() { dev.Close() })
	return dev
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Rows that share a block don't see each other: their loss is that of each alone, in
// any order, and that of Transformers row by row.
func TestRowsOfABlock(t *testing.T) {
	losses := map[string]float64{}
	for _, name := range []string{"pack-a", "pack-b", "pack-ab", "pack-ba"} {
		o := Options{Base: bookworm, Config: scu.DefaultConfig()}
		o.Config.TrainOn = scu.TrainOnCompletion
		r, _, err := Run(context.Background(), device(t), filepath.Join("../data/testdata/cases", name+".jsonl"), o)
		must(t, err)
		if r.Blocks != 1 {
			t.Errorf("%s lies in %d blocks", name, r.Blocks)
		}
		losses[name] = r.Loss
	}
	mean := (losses["pack-a"] + losses["pack-b"]) / 2
	for _, name := range []string{"pack-ab", "pack-ba"} {
		if math.Abs(losses[name]-mean) > 1e-5 {
			t.Errorf("%s has a loss of %v, its rows alone %v", name, losses[name], mean)
		}
	}
	if alone := 6.8638; math.Abs(mean-alone) > 1e-4 {
		t.Errorf("row by row %v, Transformers %v", mean, alone)
	}
}
