package trainer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/estimate"
)

// A job's class, and what it is told of precisions, come from the trainers that are there
// and not from the machine of the API, whose device isn't opened.
func TestClassIsTheTrainers(t *testing.T) {
	store, err := files.Open(t.TempDir())
	must(t, err)
	f, err := store.Put(t.Context(), "a.txt", strings.NewReader(story(20_000)), 1<<20)
	must(t, err)
	of := func(class ...string) scu.Presence { return scu.Presence{Classes: class, Memory: 1 << 40} }
	for _, c := range []struct {
		name     string
		here     string // the class of the API's machine
		trainers []scu.Presence
		class    string
	}{
		{"GPU trainers of an API without a GPU", "cpu", []scu.Presence{of("gpu")}, "gpu"},
		{"CPU trainers of an API with a GPU", "gpu", []scu.Presence{of("cpu")}, "cpu"},
		{"both", "cpu", []scu.Presence{of("cpu"), of("gpu")}, "gpu"},
		{"one that takes both", "cpu", []scu.Presence{of("cpu", "gpu")}, "gpu"},
		{"no trainer, no GPU here", "cpu", nil, "cpu"},
		{"no trainer, a GPU here", "gpu", nil, "gpu"},
		{"trainers of unknown classes alone", "cpu", []scu.Presence{of("special")}, "cpu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			here := devices.Classes()[slices.IndexFunc(devices.Classes(), func(k devices.Kind) bool { return k.Class == c.here })]
			here.New = func(kernels.Options) (kernels.Device, error) { return nil, errors.New("preflight opened a device") }
			p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(),
				Trainers: func(context.Context) []scu.Presence { return c.trainers }, Calibration: &estimate.Calibration{Device: here}}
			cfg := scu.DefaultConfig()
			must(t, cfg.Merge(map[string]any{"use_fp16": true, "use_4bit": true}))
			cfg.BaseModel = models.BuiltIn
			v := p.Validate(t.Context(), &cfg, one(f), nil)
			must(t, scu.Join(v.Errors))
			if v.Class != c.class {
				t.Errorf("class %q, want %q", v.Class, c.class)
			}
			for _, code := range []string{"no_half_precision", "no_4bit"} {
				warned := slices.ContainsFunc(v.Warnings, func(f scu.Finding) bool { return f.Code == code })
				if warned != (c.class == "cpu") {
					t.Errorf("class %s: warned of %s: %v", c.class, code, warned)
				}
			}
		})
	}
}

// The estimate is of this machine, and says so if jobs run elsewhere.
func TestEstimateOfAnotherClass(t *testing.T) {
	p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Calibration: calibration(),
		Trainers: func(context.Context) []scu.Presence {
			return []scu.Presence{{Classes: []string{"gpu"}, Memory: 80 << 30}}
		}}
	cfg := scu.DefaultConfig()
	cfg.BaseModel = models.BuiltIn
	e, err := p.Estimate(t.Context(), &cfg, nil, nil, 100_000)
	must(t, err)
	if e.Memory.Available != 0 || !slices.Contains(e.Warnings, "time and memory are those of the CPU, but jobs run on a GPU") {
		t.Errorf("%d bytes available; warnings %q", e.Memory.Available, e.Warnings)
	}
}
