package trainer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/kernels/reference"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/model"
)

// counter is a device that counts the weights that are put on it.
type counter struct {
	kernels.Device
	uploads *atomic.Int64
}

func (c counter) Upload(t kernels.DType, data []byte) (kernels.Buffer, error) {
	c.uploads.Add(1)
	return c.Device.Upload(t, data)
}

// The second job on a base neither opens a device nor loads the model, and gives the
// bytes that a fresh process gives. Another base takes the first one's place, a base
// whose files were written to is loaded anew, and so is one after a panic.
func TestBaseStaysLoaded(t *testing.T) {
	s := newService(t)
	var opened, uploads atomic.Int64
	tr := s.trainer("a", func() (kernels.Device, error) {
		opened.Add(1)
		dev, err := cpu.New(2)
		return counter{dev, &uploads}, err
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { tr.Run(ctx); close(done) }()

	two := 2
	run := func(base string, change func(*scu.Config)) (adapter []byte, loaded int64) {
		t.Helper()
		before := uploads.Load()
		job := s.submit(story(4000), func(j *scu.Job) {
			j.BaseModel, j.Config.BaseModel, j.Config.Steps = base, base, &two
			if change != nil {
				change(&j.Config)
			}
		})
		adapter = s.adapter(s.wait(job.ID, nil))
		return adapter, uploads.Load() - before
	}
	seed := func(c *scu.Config) { c.Seed, c.LoRA.R, c.LoRA.TargetModules = 7, 2, []string{scu.AllLinear} }

	_, all := run(models.BuiltIn, nil)
	if all == 0 {
		t.Fatal("the first job loaded nothing")
	}
	kept, loaded := run(models.BuiltIn, seed)
	if loaded != 0 || opened.Load() != 1 {
		t.Errorf("the second job put %d weights on the device, which was opened %d times", loaded, opened.Load())
	}
	other := filepath.Join(s.dir, "other")
	must(t, os.CopyFS(other, os.DirFS("../models/bookworm-2m")))
	held := tr.resident.held()
	if _, loaded := run(other, nil); loaded != all {
		t.Errorf("another base put %d weights on the device, want %d", loaded, all)
	}
	if _, loaded := run(other, nil); loaded != 0 {
		t.Errorf("the other base again put %d weights on the device", loaded)
	}
	if now := tr.resident.held(); now != held {
		t.Errorf("with one base %d bytes are held, with another in its place %d", held, now)
	}
	must(t, os.Chtimes(filepath.Join(other, "model.safetensors"), time.Time{}, time.Now().Add(time.Hour)))
	if _, loaded := run(other, nil); loaded != all {
		t.Errorf("a base that was written to put %d weights on the device, want %d", loaded, all)
	}
	if _, loaded := run(other, func(c *scu.Config) { c.BlockSize = 64 }); loaded != all {
		t.Errorf("for another block size %d weights were put on the device, want %d", loaded, all)
	}
	stop()
	<-done
	if now := tr.resident.held(); now != 0 || tr.resident.dev != nil || tr.resident.base != nil {
		t.Errorf("%d bytes are held by a trainer that has stopped", now)
	}
	go s.trainer("fresh", nil).Run(t.Context())
	if fresh, _ := run(models.BuiltIn, seed); !bytes.Equal(kept, fresh) {
		t.Error("on a base that was there the job gave other bytes than in a fresh process")
	}
}

// A device is opened for the precision that a job asks for, as far as its kind has
// it, and stays open for the next job of the same; so do weights in 4 bits.
func TestDeviceIsOpenedForTheJob(t *testing.T) {
	m := &resident{kind: devices.CPU(1)}
	defer m.close()
	var opened []kernels.DType
	m.kind.New = func(o kernels.Options) (kernels.Device, error) {
		opened = append(opened, o.Precision)
		return cpu.New(1)
	}
	dir, err := models.Extract(t.TempDir())
	must(t, err)
	_, _, err = m.model(dir, base.Open)
	must(t, err)
	load := func(half, four bool) *model.Weights {
		t.Helper()
		cfg := scu.DefaultConfig()
		cfg.UseFP16, cfg.Use4Bit, cfg.BlockSize = half, four, 16
		_, w, err := m.load(cfg)
		must(t, err)
		return w
	}
	// The CPU computes in F32 whatever is asked for, on the weights as they are.
	if load(true, true) != load(false, false) || !slices.Equal(opened, []kernels.DType{kernels.F32}) {
		t.Errorf("loaded again; opened for %v", opened)
	}
	m.kind.Half, m.kind.NF4 = kernels.BF16, true
	opened = nil
	half := load(true, false)
	if load(true, false) != half || load(false, false) == half || !slices.Equal(opened, []kernels.DType{kernels.BF16, kernels.F32}) {
		t.Errorf("opened for %v", opened)
	}
	four := load(false, true)
	if load(false, true) != four || load(false, false) == four || len(opened) != 2 {
		t.Errorf("weights in 4 bits and as they are were mixed up; opened for %v", opened)
	}
}

// What may stay between two jobs.
func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		available int64
		kept      bool
	}{
		"done":               {nil, 1000, true},
		"memory unknown":     {nil, 0, true},
		"little memory":      {nil, 50, false},
		"cancelled":          {scu.Errorf(scu.CodeCancelled, "cancelled"), 1000, true},
		"stopped":            {context.Canceled, 1000, true},
		"bad data":           {scu.Errorf(scu.CodeInvalid, "bad"), 1000, true},
		"the hub is away":    {scu.Errorf(scu.CodeUnavailable, "away"), 1000, true},
		"a panic":            {scu.Errorf(scu.CodeInternal, "a fault"), 1000, false},
		"out of memory":      {scu.Errorf(scu.CodeMemory, "memory"), 1000, false},
		"an unnamed failure": {os.ErrClosed, 1000, false},
	} {
		dev := reference.New(kernels.F32)
		_, err := dev.Alloc(kernels.F32, 25)
		must(t, err)
		k := &resident{dev: dev}
		k.count()
		k.settle(c.err, c.available)
		if kept := k.dev != nil; kept != c.kept {
			t.Errorf("%s: kept %v, want %v", name, kept, c.kept)
		}
	}
}
