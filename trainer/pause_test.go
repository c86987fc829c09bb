package trainer

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
)

// breaking is a broker that breaks off a job's first attempt to reach a step, once that is made and
// before it is told of.
type breaking struct {
	Broker
	step   int
	breaks func(ctx context.Context, id string) // returns once the trainer is told, which ends ctx
	once   sync.Once
}

func (b *breaking) PublishMetrics(ctx context.Context, trainer string, m scu.Metrics) error {
	if m.Step == b.step {
		b.once.Do(func() { b.breaks(ctx, m.JobID) })
	}
	return b.Broker.PublishMetrics(ctx, trainer, m)
}

// pause pauses a job and waits until its trainer is told to stop the attempt, which ends ctx.
func (s *service) pause(ctx context.Context, id string) {
	if _, _, err := s.broker.Pause(s.t.Context(), id); err != nil {
		s.t.Error(err)
		return
	}
	<-ctx.Done()
}

// A job that is paused in the middle is given up by its trainer, which keeps where it was;
// resumed, it ends with the bytes of one that wasn't.
func TestPausedAndResumedSameBytes(t *testing.T) {
	s := newService(t)
	tr := s.trainer("a", nil)
	tr.Broker = &breaking{Broker: tr.Broker, step: 3, breaks: s.pause}
	go tr.Run(t.Context())
	steps := func(j *scu.Job) { // a validation that is broken off leaves the checkpoint before it
		interrupted(100)(j)
		j.Config.EvalEvery = 100
	}
	job := s.submit(story(8000), steps)
	resume := sync.OnceFunc(func() {
		if j, _, err := s.broker.Job(t.Context(), job.ID); err != nil || j.Status != scu.Paused {
			t.Errorf("%s, %v", j.Status, err)
		}
		other := s.submit(story(2000), func(j *scu.Job) { interrupted(100)(j); one := 1; j.Config.Steps = &one })
		s.adapter(s.wait(other.ID, nil)) // the trainer is free
		_, _, err := s.broker.Resume(t.Context(), job.ID)
		must(t, err)
	})
	resumedAt := 0
	end := s.wait(job.ID, func(m scu.Metrics) {
		if m.Step == 3 {
			resume()
		}
		if m.Attempt == 2 && resumedAt == 0 {
			resumedAt = m.Step
		}
	})
	want := s.adapter(s.wait(s.submit(story(8000), steps).ID, nil))
	if got := s.adapter(end); !bytes.Equal(got, want) || end.Attempt != 2 || resumedAt != 4 {
		t.Errorf("attempt %d from step %d; the same bytes: %v", end.Attempt, resumedAt, bytes.Equal(got, want))
	}
}

// A failed job that is retried goes on from its checkpoint, or begins anew, and its
// adapter's bytes are those of an undisturbed one either way.
func TestRetriedSameBytes(t *testing.T) {
	for _, fromStart := range []bool{false, true} {
		s := newService(t)
		tr := s.trainer("a", nil)
		tr.Broker = &breaking{Broker: tr.Broker, step: 4, breaks: func(ctx context.Context, id string) {
			_, _, err := s.broker.Append(t.Context(), id, scu.APIWriter, func(j scu.Job) (scu.Event, error) {
				return j.Fail(0, scu.Errorf(scu.CodeInternal, "given up"), j.UpdatedAt)
			})
			if err != nil {
				t.Error(err)
				return
			}
			<-ctx.Done()
		}}
		go tr.Run(t.Context())
		job := s.submit(story(8000), interrupted(1))
		if end := s.wait(job.ID, nil); end.Status != scu.Failed || !end.GivenUp {
			t.Fatalf("%s", end.Status)
		}
		want := s.adapter(s.wait(s.submit(story(8000), interrupted(1)).ID, nil))
		_, err := s.broker.Retry(t.Context(), job.ID, fromStart)
		must(t, err)
		first := 0
		end := s.until(job.ID, func(m scu.Metrics) {
			if m.Attempt == 2 && first == 0 {
				first = m.Step
			}
		}, func(j scu.Job) bool { return j.Status == scu.Completed })
		if got := s.adapter(end); !bytes.Equal(got, want) || (first == 1) != fromStart {
			t.Errorf("from start %v: from step %d; the same bytes: %v", fromStart, first, bytes.Equal(got, want))
		}
	}
}

// full is a device that has no memory for one of its buffers.
type full struct {
	kernels.Device
	left int // buffers until then
}

func (d *full) Alloc(t kernels.DType, n int) (kernels.Buffer, error) {
	if d.left--; d.left == 0 {
		return nil, scu.Errorf(scu.CodeMemory, "the device is full")
	}
	return d.Device.Alloc(t, n)
}

// A job whose device runs out of memory is tried once more, with activations computed
// again, and ends with the same bytes; if that doesn't help it fails.
func TestOutOfMemoryIsTriedOnceMore(t *testing.T) {
	for _, c := range []struct {
		left   []int // of the devices; one that failed is opened anew
		status scu.Status
	}{{[]int{60, 0}, scu.Completed}, {[]int{60, 30}, scu.Failed}} {
		s := newService(t)
		go s.trainer("a", nil).Run(t.Context())
		want := s.adapter(s.wait(s.submit(story(4000), nil).ID, nil))
		s = newService(t)
		opened := 0
		go s.trainer("b", func() (kernels.Device, error) {
			dev, err := cpu.New(1)
			opened++
			return &full{dev, c.left[opened-1]}, err
		}).Run(t.Context())
		end := s.wait(s.submit(story(4000), nil).ID, nil)
		if end.Status != c.status || end.Attempt != 2 || !end.SaveActivations {
			t.Fatalf("%s in attempt %d: %v", end.Status, end.Attempt, end.Error)
		}
		if c.status == scu.Completed && !bytes.Equal(s.adapter(end), want) {
			t.Error("other bytes")
		}
	}
}
