package trainer

import (
	"archive/zip"
	"bytes"
	"context"
	"io/fs"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/estimate"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
)

// A trainer says what memory it has, and fails a job that doesn't fit.
func TestTooLittleMemoryFailsTheJob(t *testing.T) {
	s := newService(t)
	tr := s.trainer("small", nil)
	const memory = 4 << 20
	tr.memory = func() int64 { return memory }
	go tr.Run(t.Context())
	end := s.wait(s.submit(story(20_000), nil).ID, nil)
	if end.Status != scu.Failed || end.Error == nil || end.Error.Code != scu.CodeMemory ||
		!strings.Contains(end.Error.Error(), "but only 4 MiB of memory are available") || !strings.Contains(end.Error.Hint, "lower batch_size (now 2)") {
		t.Fatalf("%s: %+v", end.Status, end.Error)
	}
	for {
		all, err := s.broker.Trainers(t.Context())
		must(t, err)
		if len(all) == 1 && all[0].Memory == memory {
			return
		}
	}
}

// Where memory is short, or the job asks for it, fewer activations are kept, as is planned
// for it, and the bytes are the same.
func TestShortMemoryRecomputes(t *testing.T) {
	s := newService(t)
	var dev kernels.Device
	tr := s.trainer("a", func() (d kernels.Device, err error) { dev, err = cpu.New(1); return dev, err })
	memory := int64(1 << 30)
	tr.memory = func() int64 { return memory }
	run := func(checkpointing *bool) (adapter []byte, job scu.Job, peak int64) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { tr.Run(ctx); close(done) }()
		job = s.submit(story(4000), func(j *scu.Job) { j.Config.GradientCheckpointing = checkpointing })
		adapter = s.adapter(s.wait(job.ID, nil))
		stop()
		<-done
		_, peak = dev.Allocated()
		return adapter, job, peak
	}
	kept, job, most := run(nil)
	asked, _, least := run(new(true))
	if same := bytes.Equal(weightsOf(t, kept), weightsOf(t, asked)); least >= most*3/4 || !same {
		t.Errorf("%d bytes at most with gradient_checkpointing, %d without; the same weights: %v", least, most, same)
	}

	m, err := s.bases.Outline(t.Context(), job.BaseModel)
	must(t, err)
	defer m.Close()
	modules, err := m.Modules(job.Config.LoRA)
	must(t, err)
	planner, err := cpu.New(1)
	must(t, err)
	defer planner.Close()
	again := func(when string, plan model.WorkspaceOptions) {
		adapter, _, peak := run(nil)
		if peak >= most || plan.Recompute && peak >= most*3/4 {
			t.Errorf("%d bytes at most with %s memory, %d with much", peak, when, most)
		}
		if !bytes.Equal(kept, adapter) {
			t.Errorf("other bytes with %s memory", when)
		}
	}
	var plan model.WorkspaceOptions
	some := false
	for !plan.Recompute {
		memory -= memory / 20
		plan, err = estimate.Run{Spec: m.Spec, Types: m.Types(), Config: job.Config, Work: estimate.Work{Longest: job.Config.BlockSize}, Available: memory}.Plan(planner.Activations(), modules)
		must(t, err)
		if plan.RecomputeMLP > 0 && !some {
			some = true
			again("little", plan)
		}
	}
	again("very little", plan)
	if !some {
		t.Error("no plan computes some of the activations again")
	}
}

// weightsOf is the file of weights in an adapter.
func weightsOf(t *testing.T, adapter []byte) []byte {
	z, err := zip.NewReader(bytes.NewReader(adapter), int64(len(adapter)))
	must(t, err)
	b, err := fs.ReadFile(z, lora.WeightsFile)
	must(t, err)
	return b
}

// A job is refused for its memory only by what a trainer has of it.
func TestPreflightMemory(t *testing.T) {
	store, err := files.Open(t.TempDir())
	must(t, err)
	p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
	f, err := store.Put(t.Context(), "a.txt", strings.NewReader(story(20_000)), 1<<20)
	must(t, err)
	for name, c := range map[string]struct {
		trainers []scu.Presence
		code     scu.Code
	}{
		"no trainers":           {nil, ""},
		"unknown":               {[]scu.Presence{{Classes: []string{"cpu"}}}, ""},
		"too little":            {[]scu.Presence{{Classes: []string{"cpu"}, Memory: 4 << 20}}, scu.CodeMemory},
		"enough on one":         {[]scu.Presence{{Classes: []string{"cpu"}, Memory: 4 << 20}, {Classes: []string{"cpu"}, Memory: 1 << 40}}, ""},
		"too little on GPUs":    {[]scu.Presence{{Classes: []string{"gpu"}, Memory: 4 << 20}, {Classes: []string{"cpu"}, Memory: 1 << 40}}, scu.CodeMemory},
		"little where it isn't": {[]scu.Presence{{Classes: []string{"gpu"}, Memory: 1 << 40}, {Classes: []string{"cpu"}, Memory: 4 << 20}}, ""},
	} {
		p.Trainers = func(context.Context) []scu.Presence { return c.trainers }
		cfg := scu.DefaultConfig()
		cfg.BaseModel = models.BuiltIn
		err := scu.Join(p.Validate(t.Context(), &cfg, one(f), nil).Errors)
		if c.code == "" && err != nil || c.code != "" && scu.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}
