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
	"github.com/shannon-control/scu/trainer/model"
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
		{"no trainer, a GPU here", "gpu", nil, "gpu-4"},
		{"trainers of memory classes", "cpu", []scu.Presence{of(scu.ClassesOfGPU(80<<30, 0)...), of("cpu")}, "gpu-4"},
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
				if warned != (scu.ClassFamily(c.class) == "cpu") {
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
	if e.Memory.Available != 80<<30 || e.Memory.Process != scu.GPUContext || e.Class != "gpu" || !slices.Contains(e.Warnings, "times are those of the CPU, but jobs run on a GPU") {
		t.Errorf("%d bytes available; warnings %q", e.Memory.Available, e.Warnings)
	}
}

// A trainer that may take a part of its GPU offers the classes and the memory of that part.
func TestPartOfGPU(t *testing.T) {
	const gib = 1 << 30
	kind := devices.Classes()[0]
	kind.Number, kind.Memory, kind.Most = 1, 80*gib, 24*gib
	if got, want := classes(kind), scu.ClassesOfGPU(24*gib, 1); !slices.Equal(got, want) {
		t.Errorf("classes %v, want %v", got, want)
	}
	free := int64(79 * gib)
	tr := Trainer{Config: Config{Device: kind}, memory: func() int64 { return free }}
	if n := tr.available(); n < 23*gib || n > 25*gib {
		t.Errorf("%d bytes are available", n)
	}
	if free = 3 * gib; tr.available() != free {
		t.Errorf("%d bytes are available of %d that are free", tr.available(), free)
	}
}

// A job on GPUs gets the smallest class that holds it: activations are computed again only
// if no card there is large enough, and what can't be held is refused by name before it
// is loaded. One that names a GPU waits for it.
func TestGPUPlacement(t *testing.T) {
	store, err := files.Open(t.TempDir())
	must(t, err)
	f, err := store.Put(t.Context(), "a.txt", strings.NewReader(story(400_000)), 1<<20)
	must(t, err)
	card := func(total, free int64, number int) scu.Presence {
		return scu.Presence{Classes: scu.ClassesOfGPU(total, number), Memory: free}
	}
	const gib = 1 << 30
	p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
	needs := func(batch int, recompute bool) int64 {
		cfg := scu.DefaultConfig()
		cfg.BaseModel, cfg.BlockSize, cfg.BatchSize = models.BuiltIn, 512, batch
		m, err := p.Bases.Outline(t.Context(), cfg.BaseModel)
		must(t, err)
		defer m.Close()
		modules, err := m.Modules(cfg.LoRA)
		must(t, err)
		r := placement{kind: devices.Classes()[0]}.run(m, &cfg, estimate.Work{Longest: 512})
		n, err := r.Needs(kernels.BF16, modules, model.WorkspaceOptions{Batch: batch, Len: 512, Training: true, Recompute: recompute})
		must(t, err)
		return n
	}
	kept, tight := needs(600, false), needs(600, true)
	if scu.GPUClassFor(kept) == scu.GPUClassFor(tight) {
		t.Fatalf("%d and %d bytes are of one class", kept, tight)
	}
	one8, one80 := card(8*gib, 7*gib, 0), card(80*gib, 79*gib, 1)
	for _, c := range []struct {
		name     string
		trainers []scu.Presence
		batch    int
		again    *bool // gradient_checkpointing
		gpu      *int
		class    string
		code     scu.Code
		says     string
		warns    string
	}{
		{name: "a small job", trainers: []scu.Presence{one8, one80}, batch: 1, class: "gpu-4"},
		{name: "kept whole where a card is large enough", trainers: []scu.Presence{one8, one80}, batch: 600, class: scu.GPUClassFor(kept)},
		{name: "computed again where none is", trainers: []scu.Presence{one8}, batch: 600, class: scu.GPUClassFor(tight)},
		{name: "computed again as asked for", trainers: []scu.Presence{one8, one80}, batch: 600, again: new(true), class: scu.GPUClassFor(tight)},
		{name: "computed again nowhere", trainers: []scu.Presence{one8}, batch: 600, again: new(false), code: scu.CodeMemory, says: "gradient_checkpointing: training needs"},
		{name: "trainers of an older version", trainers: []scu.Presence{{Classes: []string{"gpu"}, Memory: 79 * gib}}, batch: 600, class: "gpu"},
		{name: "too large", trainers: []scu.Presence{card(8*gib, 100<<20, 0)}, batch: 600, code: scu.CodeMemory, says: "training needs"},
		{name: "weights larger than the card", trainers: []scu.Presence{card(8*gib, 1<<20, 0)}, batch: 1, code: scu.CodeMemory, says: "base_model: the model's weights take"},
		{name: "a GPU of which a trainer takes 2 GB", trainers: []scu.Presence{{Classes: scu.ClassesOfGPU(2*gib, 0), Memory: estimate.Within(2*gib, 79*gib)}}, batch: 1, class: "gpu"},
		{name: "a job beyond that", trainers: []scu.Presence{{Classes: scu.ClassesOfGPU(2*gib, 0), Memory: estimate.Within(2*gib, 79*gib)}}, batch: 600, code: scu.CodeMemory, says: "training needs"},
		{name: "a GPU by number", trainers: []scu.Presence{one8, one80}, batch: 1, gpu: new(1), class: "gpu-id-1"},
		{name: "a GPU that isn't there", trainers: []scu.Presence{one8, one80}, batch: 1, gpu: new(7), class: "gpu-id-7", warns: "no_such_gpu"},
		{name: "a GPU where there is none", batch: 1, gpu: new(0), class: "gpu-id-0", warns: "no_such_gpu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.Trainers = func(context.Context) []scu.Presence { return c.trainers }
			cfg := scu.DefaultConfig()
			cfg.BaseModel, cfg.BlockSize, cfg.BatchSize, cfg.GPUID, cfg.GradientCheckpointing = models.BuiltIn, 512, c.batch, c.gpu, c.again
			v := p.Validate(t.Context(), &cfg, one(f), nil)
			if err := scu.Join(v.Errors); scu.CodeOf(err) != c.code || c.code != "" && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %s %q", err, c.code, c.says)
			}
			if c.code == "" && v.Class != c.class {
				t.Errorf("class %q, want %q", v.Class, c.class)
			}
			if c.warns != "" && !slices.ContainsFunc(v.Warnings, func(f scu.Finding) bool { return f.Code == c.warns }) {
				t.Errorf("no warning %s in %v", c.warns, v.Warnings)
			}
		})
	}
}
