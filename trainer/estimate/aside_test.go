package estimate

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
)

// On a GPU what blocks keep is put aside in the host's memory where the copies are hidden, and elsewhere if memory is
// short, before anything is computed again. What lies there isn't the GPU's.
func TestPlanAside(t *testing.T) {
	for _, tied := range []bool{true, false} {
		run := llama1B(t, tied)
		spec := run.Spec
		modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, run.Config.LoRA)
		must(t, err)
		plan := func(batch int, available int64, asked *bool) model.WorkspaceOptions {
			t.Helper()
			run.Config.BatchSize, run.Available, run.Config.GradientCheckpointing = batch, available, asked
			o, err := run.Plan(kernels.BF16, modules)
			must(t, err)
			return o
		}
		needs := func(o model.WorkspaceOptions) int64 {
			t.Helper()
			n, err := run.Needs(kernels.BF16, modules, o)
			must(t, err)
			return n
		}
		const table, room = 128256 * 2048 * 2, 8 << 20
		host := func() int64 {
			t.Helper()
			m, err := run.Memory()
			must(t, err)
			return m.Host
		}
		limit := func(n int64) int64 { return int64(float64(n)/gpuShare) - room }

		all := plan(1, 0, nil)
		if all.AsideMLP != 0 || all.Recomputes() {
			t.Errorf("1x1024: %+v", all)
		}
		if want := int64(table); tied && host() != 0 || !tied && host() != want {
			t.Errorf("1x1024, tied %v: %d bytes of the host's", tied, host())
		}
		loaded := needs(all)
		some := plan(1, limit(needs(all)), nil)
		if some.AsideMLP != 4 || some.AsideEvery != 5 || some.Recomputes() || needs(all)-needs(some) < 3*1024*2*8192*2 {
			t.Errorf("1x1024, a little too little: %+v takes %d, %d without", some, needs(some), needs(all))
		}
		if least := plan(1, limit(needs(some)), nil); least.AsideMLP != 4 || least.RecomputeMLP != 2 {
			t.Errorf("1x1024, less: %+v", least)
		}
		if many := plan(8, 0, nil); many.AsideMLP != 4 || many.Recomputes() {
			t.Errorf("8x1024: %+v", many)
		}
		if forbidden := plan(8, 0, new(false)); forbidden.AsideMLP != 0 {
			t.Errorf("8x1024, forbidden: %+v", forbidden)
		}
		plan(8, 0, nil)
		if aside := int64(3 * 8192 * (2*8192 + kernels.MostSpare) * 2); tied && host() != aside || !tied && host() != aside+table {
			t.Errorf("8x1024, tied %v: %d bytes of the host's, want %d", tied, host(), aside)
		}
		run.Config.BatchSize, run.HostRefused = 1, true
		if more := needs(all) - loaded; !tied && more < table || tied && more != 0 || host() != 0 {
			t.Errorf("1x1024, tied %v, where the host refuses the table: %d bytes more, %d of the host's", tied, more, host())
		}
	}
}

// llama1B is training of a model of Llama 1B's shape on rows of 1,024, on a GPU.
func llama1B(t *testing.T, tied bool) Run {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`{"model_type":"llama","hidden_size":2048,"intermediate_size":8192,"num_hidden_layers":16,"num_attention_heads":32,
		"num_key_value_heads":8,"head_dim":64,"vocab_size":128256,"max_position_embeddings":8192,"rms_norm_eps":1e-5,"hidden_act":"silu","tie_word_embeddings":%t}`, tied)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	spec, err := model.ReadSpec(dir)
	must(t, err)
	run := Run{Spec: spec, Types: func(string) kernels.DType { return kernels.BF16 }, Config: scu.DefaultConfig(), Work: Work{Longest: 1024}, Device: devices.Classes()[0]}
	run.Config.BlockSize, run.Config.UseFP16 = 1024, true
	return run
}

// A run within a bound takes no more than that, and computes no more again than it must.
func TestWithin(t *testing.T) {
	run := llama1B(t, true)
	run.Config.BatchSize, run.Config.Use4Bit = 1, false
	run.Config.LoRA = scu.LoRAConfig{R: 16, Alpha: 32, TargetModules: []string{scu.AllLinear}}
	modules, err := lora.Plan(run.Spec.Targets(), run.Spec.DefaultTargets, run.Config.LoRA)
	must(t, err)
	const card = 80 << 30
	for _, c := range []struct {
		most    int64 // MiB
		again   int   // blocks whose MLP is computed again; all and more: 16
		refused bool
	}{
		{0, 0, false}, {100_000, 0, false}, {4000, 0, false}, {3500, 12, false}, {3300, 16, false}, {2500, 0, true}, {100, 0, true},
	} {
		run.Available = Within(c.most<<20, card)
		o, err := run.Plan(kernels.BF16, modules)
		if c.refused {
			if scu.CodeOf(err) != scu.CodeMemory {
				t.Errorf("within %d MiB: %v", c.most, err)
			}
			continue
		}
		must(t, err)
		need, err := run.Needs(kernels.BF16, modules, o)
		must(t, err)
		again := o.RecomputeMLP
		if o.Recompute {
			again = 16
		}
		if again != c.again || c.most > 0 && need+scu.GPUContext > c.most<<20 {
			t.Errorf("within %d MiB: %+v takes %d", c.most, o, (need+scu.GPUContext)>>20)
		}
	}
	if free := int64(1 << 30); Within(3500<<20, free) != free {
		t.Error("a bound above what is there")
	}
}
