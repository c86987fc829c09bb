package estimate

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/model"
)

// Of what doesn't fit into memory as much is computed again as makes it fit, or what the
// job asks for; and what doesn't fit then is refused.
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
	all := run.keepAll()
	o, err := run.Plan(dev.Activations(), modules)
	if err != nil || o != all || o.Batch != 8 || o.Len != 512 {
		t.Fatalf("with unknown memory: %+v, %v", o, err)
	}
	layers := len(m.Spec.Layers)
	some, most, again := all, all, all
	some.RecomputeMLP, most.RecomputeMLP, again.Recompute = 2, layers, true
	needs := func(o model.WorkspaceOptions) (n int64) {
		n, err := run.Needs(dev.Activations(), modules, o)
		must(t, err)
		return n
	}
	kept, tight := needs(all), needs(again)
	mapped, err := outline(newRecorder(dev), run, modules, all)
	must(t, err)

	const room = 64 << 10
	limit := func(n int64) int64 { return int64(float64(n) / share) }
	for name, c := range map[string]struct {
		available int64
		asked     *bool
		types     func(string) kernels.DType
		want      model.WorkspaceOptions
		refused   string
	}{
		"enough":                         {available: limit(kept) + room, want: all},
		"a little too little":            {available: limit(kept) - room, want: some},
		"fewer bits leave more room":     {available: limit(kept) - room, types: func(string) kernels.DType { return kernels.NF4 }, want: all},
		"enough for every MLP's again":   {available: limit(needs(most)) + room, want: most},
		"too little for every MLP's":     {available: limit(needs(most)) - room, want: again},
		"enough without the weights":     {available: limit(tight-mapped.loaded) + room, want: again},
		"too little":                     {available: limit(tight-mapped.loaded) - room, refused: "lower batch_size (now 8)"},
		"asked for":                      {available: 1 << 40, asked: new(true), want: again},
		"asked for, memory unknown":      {asked: new(true), want: again},
		"asked for, too little":          {available: limit(tight-mapped.loaded) - room, asked: new(true), refused: "lower batch_size (now 8)"},
		"forbidden":                      {available: limit(kept) + room, asked: new(false), want: all},
		"forbidden, without the weights": {available: limit(kept-mapped.loaded) + room, asked: new(false), want: all},
		"forbidden, memory unknown":      {asked: new(false), want: all},
		"forbidden, needed":              {available: limit(kept-mapped.loaded) - room, asked: new(false), refused: "gradient_checkpointing: training needs"},
	} {
		r := run
		r.Available, r.Config.GradientCheckpointing = c.available, c.asked
		if c.types != nil {
			r.Types = c.types
		}
		got, err := r.Plan(dev.Activations(), modules)
		if c.refused != "" {
			if scu.CodeOf(err) != scu.CodeMemory || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
