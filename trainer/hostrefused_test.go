package trainer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/estimate"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// besideHost is a device with the host's memory beside its own, unless that is refused.
type besideHost struct {
	kernels.Device
	refuses bool
}

func (d besideHost) AllocHost(t kernels.DType, n int) (kernels.Buffer, error) {
	if d.refuses {
		return nil, kernels.ErrMemory
	}
	return d.Alloc(t, n)
}

func (d besideHost) CopyBeside(dst, src kernels.Buffer) {
	if dst.DType() != kernels.F64 {
		d.Copy(kernels.Matrix(dst, 1, dst.Len()), kernels.Matrix(src, 1, src.Len()))
		return
	}
	sums := make([]float64, src.Len())
	if err := d.ReadF64(sums, src); err != nil {
		panic(err)
	}
	d.WriteF64(dst, sums)
}

func (d besideHost) Join(kernels.Buffer) {}

func (d besideHost) ReadBeside(dst []float64, host kernels.Buffer) error { return d.ReadF64(dst, host) }

// A table for which the host has no memory lies on the GPU, and a job's plan counts it: what fits beside the host's memory
// alone is refused before it begins.
func TestPlanCountsWhatTheHostRefused(t *testing.T) {
	s := newService(t)
	dir := modelCopy(t)
	edit(t, dir, "config.json", func(m map[string]any) { m["tie_word_embeddings"] = false })
	untie(t, filepath.Join(dir, "model.safetensors"))
	refuses := false
	tr := s.trainer("a", func() (kernels.Device, error) {
		dev, err := cpu.New(1)
		return besideHost{dev, refuses}, err
	})
	tr.memory = func() int64 { return 0 }
	tr.Device.Scratch = func(kernels.DType, ...any) int64 { return 0 } // a GPU's mark
	tr.resident.kind.Scratch = tr.Device.Scratch

	m, err := base.Open(dir)
	must(t, err)
	defer m.Close()
	var cfg scu.Config
	end := func() scu.Job {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		job := s.submit(story(4000), func(j *scu.Job) {
			j.BaseModel, j.Config.BaseModel, j.Config.GradientCheckpointing = dir, dir, new(true)
			cfg = j.Config
		})
		go func() { tr.Run(ctx); close(done) }()
		ended := s.wait(job.ID, nil)
		stop()
		<-done
		return ended
	}
	if first := end(); first.Status != scu.Completed { // with memory unknown
		t.Fatalf("%s, %v", first.Status, first.Error)
	}
	modules, err := m.Modules(cfg.LoRA)
	must(t, err)
	run := estimate.Run{Spec: m.Spec, Types: m.Types(), Config: cfg, Work: estimate.Work{Longest: cfg.BlockSize}, Device: tr.Device}
	plan, err := run.Plan(kernels.F32, modules)
	must(t, err)
	need, err := run.Needs(kernels.F32, modules, plan)
	must(t, err)
	const room = 256 << 10 // less than the table
	memory := int64(float64(need+room) / 0.97)
	tr.memory = func() int64 { return memory }
	if job := end(); job.Status != scu.Completed {
		t.Fatalf("beside the host's memory: %s, %v", job.Status, job.Error)
	}
	refuses = true
	if job := end(); job.Status != scu.Failed || job.Error == nil || job.Error.Code != scu.CodeMemory || !strings.Contains(job.Error.Message, "training needs") {
		t.Fatalf("without it: %s, %v", job.Status, job.Error)
	}
}

// untie gives a model's file an output head of its own, equal to the embedding.
func untie(t *testing.T, path string) {
	t.Helper()
	files, err := safetensors.OpenModel(filepath.Dir(path))
	must(t, err)
	var all []safetensors.Tensor
	for _, name := range files.Names() {
		x, _ := files.Tensor(name)
		all = append(all, x)
		if strings.HasSuffix(name, "embed_tokens.weight") {
			x.Name = "lm_head.weight"
			all = append(all, x)
		}
	}
	to, err := os.Create(path + ".new")
	must(t, err)
	must(t, safetensors.Write(to, map[string]string{"format": "pt"}, all))
	must(t, to.Close())
	must(t, files.Close())
	must(t, os.Rename(path+".new", path))
}
