package trainer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/devices"
)

// failing is a device on which every read fails with err once broken is set.
type failing struct {
	kernels.Device
	broken *atomic.Bool
	err    error
}

func (d failing) ReadF64(dst []float64, b kernels.Buffer) error {
	if d.broken.Load() {
		return fmt.Errorf("cuda: %w", d.err)
	}
	return d.Device.ReadF64(dst, b)
}

// A job whose device fails is handed back, to go on where it was, to the same bytes, though
// memory is lacking as well; its trainer takes no job and says why until the device works again.
func TestLostDevice(t *testing.T) {
	s := newService(t)
	whole := s.trainer("whole", nil)
	ctx := t.Context()
	go whole.Run(ctx)
	want := s.adapter(s.wait(s.submit(story(4000), nil).ID, nil))

	s = newService(t)
	var broken atomic.Bool
	opens, mended := 0, make(chan struct{})
	broken.Store(true)
	tr := s.trainer("a", func() (kernels.Device, error) {
		opens++
		if opens == 2 { // it is still broken when it is first tried again
			p := waitPresence(t, s, func(p scu.Presence) bool { return p.Problem != "" })
			if len(p.Classes) != 0 || !strings.Contains(p.Problem, kernels.ErrLost.Error()) {
				t.Errorf("a trainer whose device failed says %+v", p)
			}
			return nil, errors.New("no device")
		}
		if opens == 3 {
			broken.Store(false)
			close(mended)
		}
		dev, err := cpu.New(1)
		return failing{dev, &broken, errors.Join(kernels.ErrMemory, kernels.ErrLost)}, err
	})
	tr.retryWait = time.Millisecond
	go tr.Run(ctx)
	end := s.wait(s.submit(story(4000), nil).ID, nil)
	<-mended
	if end.Status != scu.Completed || end.Attempt != 2 {
		t.Fatalf("%s in attempt %d: %v", end.Status, end.Attempt, end.Error)
	}
	if !bytes.Equal(s.adapter(end), want) {
		t.Error("other bytes after the device failed")
	}
	waitPresence(t, s, func(p scu.Presence) bool { return p.Problem == "" && len(p.Classes) > 0 })
}

// A job for which the device's memory is too small fails by that name, and the trainer goes on.
func TestDeviceOutOfMemory(t *testing.T) {
	s := newService(t)
	var broken atomic.Bool
	broken.Store(true)
	tr := s.trainer("a", func() (kernels.Device, error) {
		dev, err := cpu.New(1)
		return failing{dev, &broken, kernels.ErrMemory}, err
	})
	go tr.Run(t.Context())
	end := s.wait(s.submit(story(4000), nil).ID, nil)
	if end.Status != scu.Failed || end.Error == nil || end.Error.Code != scu.CodeMemory {
		t.Fatalf("%s: %v", end.Status, end.Error)
	}
	broken.Store(false)
	if end = s.wait(s.submit(story(4000), nil).ID, nil); end.Status != scu.Completed {
		t.Errorf("the next job: %s, %v", end.Status, end.Error)
	}
}

// What the driver reports of a GPU stands among the trainer's figures, which go on.
func TestReportedFault(t *testing.T) {
	s := newService(t)
	tr := s.trainer("a", nil)
	fault := make(chan devices.Fault)
	tr.Device.Scratch = func(kernels.DType, ...any) int64 { return 0 } // a GPU's mark
	tr.Device.Watch = func(ctx context.Context, report func(devices.Fault)) error {
		for {
			select {
			case f := <-fault:
				report(f)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	go tr.Run(t.Context())
	waitPresence(t, s, func(p scu.Presence) bool { return p.GPU != nil && p.GPU.Fault == "" })
	for _, f := range []struct {
		fault devices.Fault
		says  string
	}{{devices.Fault{Xid: 63}, "Xid 63 at 20"}, {devices.Fault{}, "an uncorrectable error of its memory at 20"}} {
		fault <- f.fault
		waitPresence(t, s, func(p scu.Presence) bool { return p.GPU != nil && strings.HasPrefix(p.GPU.Fault, f.says) })
	}
}

func waitPresence(t *testing.T, s *service, ok func(scu.Presence) bool) scu.Presence {
	t.Helper()
	for t.Context().Err() == nil {
		all, err := s.broker.Trainers(t.Context())
		must(t, err)
		if len(all) == 1 && ok(all[0]) {
			return all[0]
		}
	}
	t.Fatal("the trainer doesn't say so")
	return scu.Presence{}
}
