package estimate

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/base"
)

// What doesn't fit into memory is recomputed, and what doesn't fit then is refused.
func TestPlan(t *testing.T) {
	m, err := base.Open("../../models/bookworm-2m")
	must(t, err)
	defer m.Close()
	run := Run{Spec: m.Spec, Types: m.Types(), Config: scu.DefaultConfig(), Work: Work{Longest: 512}}
	run.Config.BatchSize, run.Config.BlockSize = 8, 512
	modules, err := m.Modules(run.Config.LoRA)
	must(t, err)
	dev, err := cpu.New(1)
	must(t, err)
	defer dev.Close()
	o, err := run.Plan(dev.Activations(), modules)
	if err != nil || o.Recompute || o.Batch != 8 || o.Len != 512 {
		t.Fatalf("with unknown memory: %+v, %v", o, err)
	}
	p, err := outline(newRecorder(dev), run, modules, o)
	must(t, err)
	kept := p.loaded + p.learning + p.activations
	o.Recompute = true
	p, err = outline(newRecorder(dev), run, modules, o)
	must(t, err)
	tight := p.learning + p.activations

	with := func(available int64, types func(string) kernels.DType) (bool, error) {
		r := run
		r.Available, r.Types = available, types
		o, err := r.Plan(dev.Activations(), modules)
		return o.Recompute, err
	}
	const room = 64 << 10
	limit := func(n int64) int64 { return int64(float64(n) / share) }
	for _, c := range []struct {
		available int64
		recompute bool
		fits      bool
	}{{limit(kept) + room, false, true}, {limit(kept) - room, true, true}, {limit(tight) + room, true, true}, {limit(tight) - room, true, false}} {
		recompute, err := with(c.available, run.Types)
		if recompute != c.recompute || (err == nil) != c.fits {
			t.Errorf("with %d available: recompute %v, %v", c.available, recompute, err)
		}
		if err != nil && (scu.CodeOf(err) != scu.CodeMemory || !strings.Contains(err.Error(), "lower batch_size (now 8)")) {
			t.Error(err)
		}
	}
	// The same model in fewer bits leaves more room for activations.
	if recompute, err := with(limit(kept)-room, func(string) kernels.DType { return kernels.NF4 }); err != nil || recompute {
		t.Errorf("in 4 bits: recompute %v, %v", recompute, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
