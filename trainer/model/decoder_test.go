package model_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/random"
	"github.com/shannon-control/scu/kernels/reference"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// rig is a small model of a family with an adapter whose B isn't zero.
type rig struct {
	dev     kernels.Device
	dec     *model.Decoder
	adapter *lora.Adapter
	modules []lora.Module
	param   []float32
}

func newRig(t *testing.T, dev kernels.Device, family string, dropout float64) *rig {
	t.Helper()
	dir := "../testdata/goldens/" + family + "/model"
	spec, err := model.ReadSpec(dir)
	must(t, err)
	files, err := safetensors.OpenModel(dir)
	must(t, err)
	t.Cleanup(func() { files.Close() })
	weights, err := model.Load(dev, spec, files, 16)
	must(t, err)
	t.Cleanup(weights.Close)
	r := &rig{dev: dev, dec: weights.With(nil)}
	cfg := scu.LoRAConfig{R: 3, Alpha: 5, TargetModules: []string{scu.AllLinear}}
	cfg.TargetModules = append(lora.Names(spec.Targets(), nil, cfg), spec.Head.Path)
	r.adapt(t, cfg, dropout)
	return r
}

// adapt puts another adapter beside the model.
func (r *rig) adapt(t *testing.T, cfg scu.LoRAConfig, dropout float64) {
	t.Helper()
	modules, err := lora.Plan(r.dec.Spec.Targets(), r.dec.Spec.DefaultTargets, cfg)
	must(t, err)
	a, err := lora.New(r.dev, modules, dropout)
	must(t, err)
	t.Cleanup(a.Close)
	r.adapter, r.modules, r.param = a, modules, lora.Init(modules, 7)
	for i := range r.param { // B starts at zero, and A would have no gradient
		r.param[i] += float32(random.Uniform(99, uint64(i))-0.5) * 0.1
	}
	r.dev.WriteF32(a.Param, r.param)
	r.dec = r.dec.With(a)
}

func (r *rig) workspace(t *testing.T, recompute bool) *model.Workspace {
	t.Helper()
	return r.workspaceOf(t, model.WorkspaceOptions{Recompute: recompute})
}

// workspaceOf is a workspace for testBatch.
func (r *rig) workspaceOf(t *testing.T, o model.WorkspaceOptions) *model.Workspace {
	t.Helper()
	o.Batch, o.Len, o.Training = 2, 12, true
	w, err := r.dec.NewWorkspace(o)
	must(t, err)
	t.Cleanup(w.Close)
	return w
}

// loss runs one pass in training mode and returns the summed loss; Grad grows.
func (r *rig) loss(t *testing.T, w *model.Workspace, b model.Batch) float64 {
	t.Helper()
	must(t, r.lossGrad(t, w, b))
	losses := make([]float32, len(b.IDs))
	must(t, r.dev.ReadF32(losses, w.Losses.Slice(0, len(losses))))
	var sum float64
	for _, l := range losses {
		sum += float64(l)
	}
	return sum
}

// lossGrad stages a batch and runs it in training mode, with the gradient of the sum.
func (r *rig) lossGrad(t *testing.T, w *model.Workspace, b model.Batch) error {
	t.Helper()
	one, err := r.dev.Alloc(kernels.F64, 1)
	must(t, err)
	defer r.dev.Free(one)
	r.dev.WriteF64(one, []float64{1})
	if err := r.dec.Stage(w, []model.Batch{b}, []uint64{1234}); err != nil {
		return err
	}
	return r.dec.LossGrad(context.Background(), w, 0, kernels.Scalar{Buf: one})
}

func (r *rig) grad(t *testing.T) []float32 {
	t.Helper()
	g := make([]float32, len(r.param))
	must(t, r.dev.ReadF32(g, r.adapter.Grad))
	r.dev.Zero(r.adapter.Grad)
	return g
}

func testBatch() model.Batch {
	b := model.Batch{Rows: 2, Len: 12}
	for i := range 24 {
		b.IDs = append(b.IDs, int32(i*37%150))
		b.Targets = append(b.Targets, int32((i*53+11)%150))
	}
	b.Targets[11], b.Targets[20] = -1, -1
	return b
}

var families = []string{"gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "qwen3", "gemma2", "gemma3", "phi3", "olmo2", "blenderbot"}

// The gradient of every family, with dropout, is that of finite differences.
func TestGradientEqualsFiniteDifferences(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			dev, err := cpu.New(1)
			must(t, err)
			defer dev.Close()
			r := newRig(t, dev, family, 0.2)
			w, b := r.workspace(t, false), testBatch()
			r.loss(t, w, b)
			got := r.grad(t)
			var scale float64
			for _, g := range got {
				scale = math.Max(scale, math.Abs(float64(g)))
			}
			const h = 1e-2
			for k := range 64 {
				i := int(random.Uniform(5, uint64(k)) * float64(len(r.param)))
				at := func(d float32) float64 {
					p := slices.Clone(r.param)
					p[i] += d
					r.dev.WriteF32(r.adapter.Param, p)
					return r.loss(t, w, b)
				}
				// fourth order, since the activations are fp32
				want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
				if e := math.Abs(float64(got[i]) - want); e > 2e-3*scale {
					t.Errorf("d loss / d w[%d] = %v, by differences %v (largest %v)", i, got[i], want, scale)
				}
			}
		})
	}
}

// Gradient checkpointing, of whole blocks or of their MLP's projections, changes no byte
// and saves memory.
func TestRecomputeSameBytes(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			dev, err := cpu.New(2)
			must(t, err)
			defer dev.Close()
			r := newRig(t, dev, family, 0.1)
			r.recomputesTheSame(t)
		})
	}
}

// recomputesTheSame checks that what is computed again gives the same bytes in less memory.
func (r *rig) recomputesTheSame(t *testing.T) {
	t.Helper()
	b := testBatch()
	base, _ := r.dev.Allocated()
	one := r.loss(t, r.workspace(t, false), b)
	kept, _ := r.dev.Allocated()
	kept -= base
	want := r.grad(t)
	for _, o := range []model.WorkspaceOptions{{Recompute: true}, {RecomputeMLP: 2}} {
		before, _ := r.dev.Allocated()
		two := r.loss(t, r.workspaceOf(t, o), b)
		if got := r.grad(t); one != two || !slices.Equal(got, want) {
			t.Fatalf("%+v: losses %v and %v; gradients equal: %v", o, one, two, slices.Equal(got, want))
		}
		after, _ := r.dev.Allocated()
		if took := after - before; took >= kept {
			t.Errorf("%+v takes %d bytes, %d if all is kept", o, took, kept)
		}
	}
}

// Blocks that share their memory may have adapters of different ranks, or none.
func TestRecomputeWithUnevenAdapters(t *testing.T) {
	for name, cfg := range map[string]scu.LoRAConfig{
		"a higher rank above": {R: 2, Alpha: 4, TargetModules: []string{scu.AllLinear}, RankPattern: map[string]int{`layers\.1\..*`: 7}},
		"the upper block":     {R: 2, Alpha: 4, TargetModules: []string{"layers.1.self_attn.q_proj", "layers.1.mlp.down_proj"}},
	} {
		t.Run(name, func(t *testing.T) {
			dev, err := cpu.New(1)
			must(t, err)
			defer dev.Close()
			r := newRig(t, dev, "llama", 0)
			r.adapt(t, cfg, 0.1)
			r.recomputesTheSame(t)
			w, err := r.dec.NewWorkspace(model.WorkspaceOptions{Batch: 2, Len: 12})
			must(t, err)
			defer w.Close()
			must(t, r.dec.Loss(context.Background(), w, testBatch()))
		})
	}
}

// The backward pass ends at the lowest block that has a module: its gradients are those of
// an adapter on everything that is zero below.
func TestAdapterOnTheUpperPart(t *testing.T) {
	for name, cfg := range map[string]scu.LoRAConfig{
		"a block":  {R: 2, Alpha: 4, TargetModules: []string{scu.AllLinear}, LayersToTransform: []int{1}},
		"the head": {R: 2, Alpha: 4, TargetModules: []string{"lm_head"}},
	} {
		t.Run(name, func(t *testing.T) {
			dev, err := cpu.New(1)
			must(t, err)
			defer dev.Close()
			r := newRig(t, dev, "llama", 0)
			r.adapt(t, cfg, 0)
			upper, b := r.param, testBatch()
			one := r.loss(t, r.workspace(t, false), b)
			want := r.grad(t)

			all := cfg
			all.LayersToTransform = nil
			if cfg.LayersToTransform == nil {
				all.TargetModules = append(lora.Names(r.dec.Spec.Targets(), nil, scu.LoRAConfig{TargetModules: []string{scu.AllLinear}}), "lm_head")
			}
			r.adapt(t, all, 0)
			below := len(r.param) - len(upper)
			clear(r.param[:below])
			copy(r.param[below:], upper)
			r.dev.WriteF32(r.adapter.Param, r.param)
			two := r.loss(t, r.workspace(t, false), b)
			if got := r.grad(t)[below:]; below == 0 || one != two || !slices.Equal(got, want) {
				t.Fatalf("%d weights below; losses %v and %v; gradients equal: %v", below, one, two, slices.Equal(got, want))
			}
		})
	}
}

// Rows of a batch don't see each other, and a shorter batch fits the workspace.
func TestRowsAreIndependent(t *testing.T) {
	r := newRig(t, reference.New(kernels.F32), "llama", 0)
	w, b := r.workspace(t, false), testBatch()
	both := r.loss(t, w, b)
	var sum float64
	for i := range 2 {
		sum += r.loss(t, w, model.Batch{Rows: 1, Len: 12, IDs: b.IDs[12*i : 12*i+12], Targets: b.Targets[12*i : 12*i+12]})
	}
	if math.Abs(both-sum) > 1e-4 {
		t.Fatalf("together %v, one by one %v", both, sum)
	}
}

func TestBatchesThatDontFit(t *testing.T) {
	r := newRig(t, reference.New(kernels.F32), "gpt2", 0)
	w := r.workspace(t, false)
	for name, b := range map[string]model.Batch{
		"too many rows":        {Rows: 3, Len: 2, IDs: make([]int32, 6), Targets: make([]int32, 6)},
		"too long":             {Rows: 1, Len: 25, IDs: make([]int32, 25), Targets: make([]int32, 25)},
		"beyond the positions": {Rows: 1, Len: 20, IDs: make([]int32, 20), Targets: make([]int32, 20)},
		"empty":                {},
		"ids missing":          {Rows: 1, Len: 2, IDs: []int32{1}, Targets: []int32{1, 1}},
		"id outside":           {Rows: 1, Len: 1, IDs: []int32{160}, Targets: []int32{1}},
		"negative id":          {Rows: 1, Len: 1, IDs: []int32{-1}, Targets: []int32{1}},
		"target outside":       {Rows: 1, Len: 1, IDs: []int32{1}, Targets: []int32{160}},
		"starts missing":       {Rows: 1, Len: 2, IDs: []int32{1, 1}, Targets: []int32{1, 1}, Starts: []int32{0}},
		"start after it":       {Rows: 1, Len: 2, IDs: []int32{1, 1}, Targets: []int32{1, 1}, Starts: []int32{0, 2}},
		"starts going back":    {Rows: 1, Len: 3, IDs: []int32{1, 1, 1}, Targets: []int32{1, 1, 1}, Starts: []int32{0, 1, 0}},
	} {
		if err := r.lossGrad(t, w, b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Every family runs with 16-bit activations, to their precision: nothing takes them
// for F32.
func TestNarrowActivations(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			var losses, norms []float64
			for _, precision := range []kernels.DType{kernels.F32, kernels.BF16} {
				r := newRig(t, reference.New(precision), family, 0.2)
				losses = append(losses, r.loss(t, r.workspace(t, true), testBatch()))
				var squares float64
				for _, g := range r.grad(t) {
					squares += float64(g) * float64(g)
				}
				norms = append(norms, math.Sqrt(squares))
			}
			if math.Abs(losses[1]/losses[0]-1) > 0.01 || math.Abs(norms[1]/norms[0]-1) > 0.05 {
				t.Errorf("in F32 a loss of %v with a gradient of norm %v, in BF16 %v and %v", losses[0], norms[0], losses[1], norms[1])
			}
		})
	}
}
