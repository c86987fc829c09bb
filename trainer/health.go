package trainer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
)

// health is what is known of a trainer's device beside its figures.
type health struct {
	mu    sync.Mutex
	lost  error  // why no job is taken; nil: jobs are
	fault string // the last that the driver reported

	reported chan struct{} // holds one once there is a fault to announce
}

func (h *health) problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil {
		return ""
	}
	return h.lost.Error()
}

func (h *health) lose(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = err
}

func (h *health) note(fault string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = fault
	select {
	case h.reported <- struct{}{}:
	default: // what is announced next has it
	}
}

// judge turns a device's error into the job's: a job that ran out of memory fails by that
// name, one whose device failed goes on elsewhere, or here once that is mended.
func (t *Trainer) judge(err error) error {
	switch {
	case errors.Is(err, kernels.ErrLost): // before memory, which a lost device may lack too
		t.health.lose(err)
		return scu.Errorf(scu.CodeUnavailable, "%s failed: %w", t.Device.Name, err)
	case errors.Is(err, kernels.ErrMemory):
		return scu.Errorf(scu.CodeMemory, "%w", err).WithHint("lower batch_size or block_size; gradient_accumulation_steps keeps the effective batch")
	}
	return err
}

// recover returns when the device can be used: at once, if it hasn't failed. Meanwhile no
// job is taken, and tell announces that.
func (t *Trainer) recover(ctx context.Context, tell func()) {
	if t.health.problem() == "" {
		return
	}
	t.resident.close()
	t.Log.Error("the device failed: no jobs are taken until it works again", "device", t.Device.Description, "error", t.health.problem())
	tell()
	for attempt := 1; ; attempt++ {
		err := t.try()
		if err == nil {
			t.health.lose(nil)
			t.Log.Info("the device works again", "device", t.Device.Description)
			tell()
			return
		}
		t.health.lose(err)
		if scu.Sleep(ctx, min(retryAfter(t.retryWait, attempt), time.Minute)) != nil {
			return
		}
	}
}

// try opens the device and has it compute something.
func (t *Trainer) try() error {
	dev, err := t.Device.Open(devices.FP32)
	if err != nil {
		return err
	}
	b, err := dev.Alloc(kernels.F32, 1)
	if err == nil {
		err = dev.ReadF32(make([]float32, 1), b)
		dev.Free(b)
	}
	return errors.Join(err, dev.Close())
}

// figures are what the driver tells of the GPU now; nil if the device is none.
func (t *Trainer) figures() *scu.GPU {
	if t.Device.Scratch == nil {
		return nil
	}
	t.health.mu.Lock()
	g := scu.GPU{Number: t.Device.Number, UUID: t.Device.UUID, Total: t.Device.Memory, Fault: t.health.fault}
	t.health.mu.Unlock()
	if t.Device.Figures != nil {
		if f, ok := t.Device.Figures(); ok {
			g.Name, g.Total, g.Free, g.Utilisation, g.Temperature, g.Watts = f.Name, f.Total, f.Free, f.Utilisation, f.Temperature, f.Watts
		}
	}
	return &g
}

// watch logs and keeps what the driver reports of the GPU, until ctx ends.
func (t *Trainer) watch(ctx context.Context) {
	if t.Device.Watch == nil {
		return
	}
	err := t.Device.Watch(ctx, func(f devices.Fault) {
		text := "an uncorrectable error of its memory"
		if f.Xid != 0 {
			text = fmt.Sprintf("Xid %d", f.Xid)
		}
		t.Log.Error("the driver reports a fault of the GPU", "device", t.Device.Description, "fault", text)
		t.health.note(text + " at " + time.Now().UTC().Format(time.RFC3339))
	})
	if err != nil && ctx.Err() == nil {
		t.Log.Debug("faults of the GPU aren't reported", "error", err)
	}
}
