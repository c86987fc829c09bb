package session

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/reference"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// A base that holds a NaN ends the run at its first step, or at the validation
// before it, and its tensor is named: no setting of the training is blamed.
func TestBrokenBase(t *testing.T) {
	for _, tensor := range []string{
		"model.embed_tokens.weight", "model.layers.0.input_layernorm.weight", "model.layers.2.mlp.up_proj.weight",
		"model.layers.3.self_attn.o_proj.weight", "model.norm.weight",
	} {
		s := newSession(t, withNaN(t, tensor), 1e-3)
		before := state(t, s)
		_, err := s.Step(t.Context(), []model.Batch{batch(), batch()}, nil)
		checkBroken(t, err, tensor, "step 1 has a loss of NaN")
		if !slices.Equal(state(t, s), before) || s.Optim.Steps != 0 {
			t.Errorf("%s: the weights moved", tensor)
		}
		_, err = s.Evaluate(t.Context(), func(yield func(data.Batch, error) bool) { yield(data.Batch(batch()), nil) })
		checkBroken(t, err, tensor, "the validation before the first step has a loss of NaN")
	}
}

func checkBroken(t *testing.T, err error, tensor, what string) {
	t.Helper()
	e := scu.AsError(err)
	if e.Code != scu.CodeInvalid || e.Field != "base_model" || !strings.Contains(e.Message, what) ||
		!strings.Contains(e.Message, "the base model's tensor "+tensor+" holds NaN") || strings.Contains(e.Hint, "learning_rate") {
		t.Errorf("%s: %v", tensor, err)
	}
}

// A run that diverges stops at that step, counted from 1, says where it began, and
// leaves the weights, the moments and the controller as they were before it.
func TestDivergence(t *testing.T) {
	s := newSession(t, bookworm, 1e30)
	for step := 1; ; step++ {
		before, control := state(t, s), s.Control.State
		_, err := s.Step(t.Context(), []model.Batch{batch()}, nil)
		if err == nil {
			if step > 10 {
				t.Fatal("a learning rate of 1e30 doesn't diverge")
			}
			continue
		}
		e := scu.AsError(err)
		if e.Code != scu.CodeInvalid || !strings.Contains(e.Message, fmt.Sprintf("step %d has a loss of", step)) ||
			!strings.Contains(e.Message, "it arose in block model.layers.0") || !strings.Contains(e.Hint, "lower learning_rate") {
			t.Error(err)
		}
		if !slices.Equal(state(t, s), before) || s.Control.State != control || s.Optim.Steps != step-1 {
			t.Error("the step that diverged moved something")
		}
		return
	}
}

// Weights of an adapter that aren't finite are told by their module.
func TestBrokenAdapter(t *testing.T) {
	s := newSession(t, bookworm, 1e-3)
	param := state(t, s)[:s.Adapter.Param.Len()]
	m := s.Adapter.Modules[s.Adapter.Find("model.layers.1.mlp.down_proj")]
	param[m.BOff+5] = float32(math.Inf(1))
	s.dev.WriteF32(s.Adapter.Param, param)
	_, err := s.Step(t.Context(), []model.Batch{batch()}, nil)
	if want := "the adapter's weights of model.layers.1.mlp.down_proj hold +Inf"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// What is finite is found to be so, forward and backward, and a gradient that isn't
// is told apart from a loss.
func TestFindNonFinite(t *testing.T) {
	s := newSession(t, bookworm, 1e-3)
	scale := func(x float64) kernels.Scalar {
		s.dev.WriteF64(s.shares, []float64{x, 0, 1})
		return kernels.Scalar{Buf: s.shares}
	}
	if at, err := s.Decoder.FindNonFinite(t.Context(), s.Work, batch(), 0, scale(1)); at != nil || err != nil {
		t.Errorf("in a run that is sound: %+v, %v", at, err)
	}
	at, err := s.Decoder.FindNonFinite(t.Context(), s.Work, batch(), 0, scale(math.Inf(1)))
	if err != nil || at == nil || !at.Back || at.Where != "the output head" || at.Tensor != "" {
		t.Errorf("with an infinite gradient: %+v, %v", at, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Decoder.FindNonFinite(ctx, s.Work, batch(), 0, scale(1)); err == nil {
		t.Error("it went on though cancelled")
	}
}

// With F16 activations gradients go through the backward pass scaled, and come out as they
// are: small ones, which F16 rounds to 0, as well.
func TestLossScale(t *testing.T) {
	gradient := func(precision kernels.DType, factor float64) []float32 {
		s := newSessionOn(t, reference.New(precision), bookworm, 1e-3)
		if s.Scale != nil {
			s.Scale.Factor = factor
		}
		var r Result
		must(t, s.Gradient(t.Context(), []model.Batch{batch()}, &r))
		grad := make([]float32, s.Grad.Len())
		must(t, s.dev.ReadF32(grad, s.Grad))
		return grad
	}
	want := gradient(kernels.F32, 0)
	distance := func(got []float32) float64 {
		var apart, norm float64
		for i := range got {
			apart += math.Pow(float64(got[i])-float64(want[i]), 2)
			norm += math.Pow(float64(want[i]), 2)
		}
		return math.Sqrt(apart / norm)
	}
	scaled, plain := distance(gradient(kernels.F16, 1<<12)), distance(gradient(kernels.F16, 1.0/4096))
	if scaled > 5e-3 || plain < 2*scaled {
		t.Errorf("the gradient is off by %.2g with a scale of 4096, and by %.2g with 1/4096", scaled, plain)
	}
}

// A gradient that overflows halves the scale, and the step is made again: nothing of it
// shows in the result. One that overflows unscaled ends the run.
func TestLossScaleAdapts(t *testing.T) {
	const tooMuch = 1 << 40
	s := newSessionOn(t, reference.New(kernels.F16), bookworm, 1e-3)
	s.Scale.Factor = tooMuch
	r, err := s.Step(t.Context(), []model.Batch{batch()}, nil)
	must(t, err)
	if s.Optim.Steps != 1 || r.Step != 0 || !finite(r.GradNorm) || s.Scale.Factor >= tooMuch || s.Scale.Steps != 1 {
		t.Errorf("step %d of %d has a gradient of norm %v at a scale of %v", r.Step, s.Optim.Steps, r.GradNorm, s.Scale.Factor)
	}
	again := newSessionOn(t, reference.New(kernels.F16), bookworm, 1e-3)
	again.Scale.Factor = s.Scale.Factor
	if other, err := again.Step(t.Context(), []model.Batch{batch()}, nil); err != nil || other.GradNorm != r.GradNorm || !slices.Equal(state(t, s), state(t, again)) {
		t.Errorf("begun at the scale that it came to, the step gives a gradient of norm %v and %v, not %v", other.GradNorm, err, r.GradNorm)
	}
}

const bookworm = "../../models/bookworm-2m"

// newSession is a session with dropout on every linear layer of the model in a folder.
func newSession(t *testing.T, dir string, learningRate float64) *Session {
	t.Helper()
	dev, err := cpu.New(2)
	must(t, err)
	return newSessionOn(t, dev, dir, learningRate)
}

func newSessionOn(t *testing.T, dev kernels.Device, dir string, learningRate float64) *Session {
	t.Helper()
	t.Cleanup(func() { dev.Close() })
	spec, err := model.ReadSpec(dir)
	must(t, err)
	files, err := safetensors.OpenModel(dir)
	must(t, err)
	t.Cleanup(func() { files.Close() })
	weights, err := model.Load(dev, spec, files, 16)
	must(t, err)
	t.Cleanup(weights.Close)
	modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{scu.AllLinear}})
	must(t, err)
	s, err := New(dev, weights, modules, lora.Init(modules, 1), Config{
		Control: scu.DefaultConfig().Control, PriorSigma: 0.1, EpochTokens: 1000, MaxGradNorm: 1, LearningRate: learningRate, Steps: 100, Dropout: 0.1,
		Workspace: model.WorkspaceOptions{Batch: 2, Len: 16, Training: true}, MicroBatches: 2,
	})
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func batch() model.Batch {
	b := model.Batch{Rows: 2, Len: 16}
	for i := range 32 {
		b.IDs, b.Targets = append(b.IDs, int32(i*37%150)), append(b.Targets, int32((i*37+37)%150))
	}
	return b
}

// state is the adapter's weights and the optimiser's moments.
func state(t *testing.T, s *Session) (all []float32) {
	t.Helper()
	for _, b := range []kernels.Buffer{s.Adapter.Param, s.Optim.M, s.Optim.V} {
		x := make([]float32, b.Len())
		must(t, s.dev.ReadF32(x, b))
		all = append(all, x...)
	}
	return all
}

// withNaN copies the built-in model and puts a NaN into the middle of a tensor.
func withNaN(t *testing.T, tensor string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(bookworm)))
	path := filepath.Join(dir, "model.safetensors")
	b, err := os.ReadFile(path)
	must(t, err)
	start := 8 + int(binary.LittleEndian.Uint64(b))
	var header map[string]struct {
		DType   string
		Offsets [2]int `json:"data_offsets"`
	}
	must(t, json.Unmarshal(b[8:start], &header))
	x, ok := header[tensor]
	if !ok {
		t.Fatalf("no tensor %s", tensor)
	}
	size := map[string]int{"F32": 4, "BF16": 2, "F16": 2}[x.DType]
	at := start + x.Offsets[0]
	at += (x.Offsets[1] - x.Offsets[0]) / size / 2 * size
	if tensor == "model.embed_tokens.weight" {
		at = start + x.Offsets[0] // of a token that is used
	}
	for i := range size {
		b[at+i] = 0xff
	}
	must(t, os.WriteFile(path, b, 0o600))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
