package estimate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/optim"
	"github.com/shannon-control/scu/trainer/safetensors"
	"github.com/shannon-control/scu/trainer/session"
)

// The recorder counts the memory that the real device allocates, for every family.
func TestMemoryIsWhatIsAllocated(t *testing.T) {
	for _, family := range []string{"llama", "gpt2", "gpt_neox", "gpt_neo", "gemma2", "qwen3", "phi3", "olmo2", "blenderbot"} {
		for name, o := range map[string]model.WorkspaceOptions{"": {}, " recompute": {Recompute: true}, " recompute MLP": {RecomputeMLP: 2}} {
			t.Run(family+name, func(t *testing.T) {
				dir := filepath.Join("../testdata/goldens", family, "model")
				spec, err := model.ReadSpec(dir)
				must(t, err)
				files, err := safetensors.OpenModel(dir)
				must(t, err)
				defer files.Close()
				cfg := scu.LoRAConfig{R: 4, Alpha: 8, TargetModules: []string{scu.AllLinear}}
				modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, cfg)
				must(t, err)
				o.Batch, o.Len, o.Training = 2, 16, true

				dev, err := cpu.New(1)
				must(t, err)
				defer dev.Close()
				weights, err := model.Load(dev, spec, files, 16)
				must(t, err)
				loaded, _ := dev.Allocated()
				a, err := lora.New(dev, modules, 0.1)
				must(t, err)
				adamw, err := optim.NewAdamW(dev, lora.Count(modules))
				must(t, err)
				learning, _ := dev.Allocated()
				learning -= 3 * 8 // the optimiser's rates count with the activations
				a.Close()
				adamw.Close()
				_, err = session.New(dev, weights, modules, nil, session.Config{Dropout: 0.1, Workspace: o, MicroBatches: 3})
				must(t, err)
				all, _ := dev.Allocated()

				run := Run{Spec: spec, Types: model.Types(spec, files)}
				run.Config.LoRA, run.Config.BlockSize, run.Config.GradientAccumulationSteps = cfg, 16, 3
				run.Config.LoRA.Dropout = 0.1
				p, err := outline(newRecorder(dev), run, modules, o)
				must(t, err)
				var mapped int64
				for _, name := range files.Names() {
					x, _ := files.Tensor(name)
					if len(x.Shape) == 2 {
						mapped += int64(len(x.Data))
					}
				}
				if p.loaded > loaded+mapped || p.loaded < loaded || p.learning != learning-loaded || p.activations != all-learning {
					t.Errorf("counted %d, %d, %d; allocated %d (and up to %d mapped), %d, %d", p.loaded, p.learning, p.activations, loaded, mapped, learning-loaded, all-learning)
				}
			})
		}
	}
}

// Every operation that a family's passes make can be timed.
func TestEveryFamilyIsTimed(t *testing.T) {
	c := &Calibration{Device: devices.CPU(2)}
	for _, family := range []string{"llama", "gpt2", "gemma2", "olmo2"} {
		spec, err := model.ReadSpec(filepath.Join("../testdata/goldens", family, "model"))
		must(t, err)
		for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16, kernels.F16, kernels.NF4} {
			cfg := scu.DefaultConfig()
			cfg.BlockSize, cfg.GradientAccumulationSteps = 16, 2
			e, err := c.Of(context.Background(), Run{
				Spec: spec, Types: func(string) kernels.DType { return dtype }, Config: cfg, Work: WorkOfTokens(1000, &cfg),
			})
			must(t, err)
			if e.Parameters != spec.Parameters() || e.StepSeconds <= 0 || e.Seconds < float64(e.Steps)*e.StepSeconds || e.TokensPerSecond <= 0 {
				t.Errorf("%s in %v: %+v", family, dtype, e)
			}
		}
	}
	known := len(c.known)
	spec, err := model.ReadSpec("../testdata/goldens/llama/model")
	must(t, err)
	cfg := scu.DefaultConfig()
	cfg.BlockSize = 16
	c.Device.New = func(kernels.Options) (kernels.Device, error) { // asked for its memory, but not used: everything is known
		dev, err := cpu.New(2)
		return struct {
			kernels.Memory
			kernels.Ops
		}{dev, nil}, err
	}
	run := Run{Spec: spec, Types: func(string) kernels.DType { return kernels.F32 }, Config: cfg, Work: WorkOfTokens(1000, &cfg)}
	if _, err = c.Of(context.Background(), run); err != nil || len(c.known) != known {
		t.Errorf("the same again: %v, %d operations known, %d before", err, len(c.known), known)
	}
	run.Available = 48 << 20 // enough for activations, and not for all
	if e, err := c.Of(context.Background(), run); err != nil || len(e.Warnings) != 1 || !strings.Contains(e.Warnings[0], "48 MiB of memory are available") {
		t.Errorf("with little memory: %q, %v", e.Warnings, err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (&Calibration{Device: c.Device}).Of(cancelled, run); err == nil {
		t.Error("went on though cancelled")
	}
}

// A large model is estimated without its memory being taken or its work done.
func TestLargeModel(t *testing.T) {
	spec, err := model.ParseSpec([]byte(`{"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
		"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "torch_dtype": "bfloat16"}`))
	must(t, err)
	cfg := scu.DefaultConfig()
	cfg.BlockSize, cfg.BatchSize = 2048, 1
	modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, cfg.LoRA)
	must(t, err)
	device, err := cpu.New(2)
	must(t, err)
	defer device.Close()
	rec := newRecorder(device)
	run := Run{Spec: spec, Types: func(string) kernels.DType { return kernels.BF16 }, Config: cfg}
	p, err := outline(rec, run, modules, model.WorkspaceOptions{Batch: 1, Len: 2048, Training: true})
	must(t, err)
	must(t, p.record(context.Background(), 1, 1, 2048))
	if n := spec.Parameters(); n != 8_030_261_248 || p.loaded < 2*n || p.loaded > 2*n+2*n/100 {
		t.Errorf("%d parameters in %d bytes", n, p.loaded)
	}
	dev := newRecorder(device) // stands for a device: what would be timed at most
	for key, x := range p.two {
		o := &operands{dev: dev}
		before := dev.bytes
		x.prepare(o)
		if o.err != nil || dev.bytes-before > 256<<20 {
			t.Errorf("%s would take %d MiB, %v", key, (dev.bytes-before)>>20, o.err)
		}
	}
}

// The work that is planned from a number of tokens is that of data with as many.
func TestWork(t *testing.T) {
	text := make([]byte, 5000)
	for i := range text {
		text[i] = 'a' + byte(i*i%23)
	}
	path := filepath.Join(t.TempDir(), "text.txt")
	must(t, os.WriteFile(path, text, 0o600))
	steps := 11
	for _, change := range []func(*scu.Config){
		func(*scu.Config) {},
		func(c *scu.Config) { c.ValFraction = 0 },
		func(c *scu.Config) { c.Epochs, c.GradientAccumulationSteps = 3, 2 },
		func(c *scu.Config) { c.Steps, c.EvalEvery = &steps, 4 },
		func(c *scu.Config) { c.BlockSize = 20_000 },
	} {
		cfg := scu.DefaultConfig()
		cfg.BlockSize = 128
		change(&cfg)
		set, _, err := data.Open(context.Background(), path, path, byteTokens{}, data.Options{BlockSize: cfg.BlockSize, EOS: 0})
		must(t, err)
		defer set.Close()
		train, _, err := set.Split(cfg.ValFraction, cfg.Seed)
		must(t, err)
		plan := data.PlanConfig{BatchSize: cfg.BatchSize, Accumulation: cfg.GradientAccumulationSteps, Epochs: cfg.Epochs, Seed: cfg.Seed}
		if cfg.Steps != nil {
			plan.Steps = *cfg.Steps
		}
		want, err := data.NewPlan(train, plan)
		must(t, err)
		work, err := WorkOf(set, nil, &cfg)
		must(t, err)
		for _, w := range []Work{work, WorkOfTokens(set.Tokens(), &cfg)} {
			if w.Steps(&cfg) != want.Steps() || w.stepsPerEpoch(&cfg) != want.StepsPerEpoch() || w.Blocks != train.Blocks() ||
				w.Tokens+w.ValTokens != set.Tokens() || w.Longest != set.Len(0) {
				t.Errorf("%+v, want %d steps, %d of an epoch, over %d blocks", w, want.Steps(), want.StepsPerEpoch(), train.Blocks())
			}
			validations := 0
			if w.ValBlocks > 0 {
				validations = 1
				for done := 1; done <= want.Steps(); done++ {
					if done == want.Steps() || done%cfg.EvalSteps(want.Steps()) == 0 {
						validations++
					}
				}
			}
			if w.validations(&cfg) != validations {
				t.Errorf("%d validations, want %d", w.validations(&cfg), validations)
			}
		}
	}
}

// byteTokens takes a byte for a token.
type byteTokens struct{}

func (byteTokens) AppendEncode(dst []int32, text string) []int32 {
	for _, b := range []byte(text) {
		dst = append(dst, int32(b))
	}
	return dst
}

func (byteTokens) Decode(ids []int32, _ bool) string {
	b := make([]byte, len(ids))
	for i, id := range ids {
		b[i] = byte(id)
	}
	return string(b)
}
