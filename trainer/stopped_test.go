package trainer

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
)

// Points at which an attempt is stopped: of step 4, which is validated, and of the end.
const (
	inStep       = "in a step"
	inValidation = "in its validation"
	inTelling    = "while it is told of"
	inCheckpoint = "while its checkpoint is stored"
	inSaving     = "while the adapter is stored"
)

// How it is stopped.
const (
	paused = "paused"
	stops  = "its trainer stops"
)

// stopping is a trainer's broker and device. It has the first attempt stopped at a point, and
// counts how often the weights are moved.
type stopping struct {
	Broker
	kernels.Device
	at      string
	stop    func(ctx context.Context) // ctx ends once the attempt is told
	once    sync.Once
	updates atomic.Int32
	attempt atomic.Pointer[context.Context]
}

func (x *stopping) point(at string) {
	if at == x.at {
		x.once.Do(func() { x.stop(*x.attempt.Load()) })
	}
}

func (x *stopping) AdamW(a kernels.AdamW) {
	x.Device.AdamW(a)
	x.updates.Add(1)
}

// Norm is a part of each pass: with three steps made it is one of the fourth, with four made of
// the validation after it.
func (x *stopping) Norm(n kernels.Norm) {
	switch x.updates.Load() {
	case 3:
		x.point(inStep)
	case 4:
		x.point(inValidation)
	}
	x.Device.Norm(n)
}

func (x *stopping) PublishMetrics(ctx context.Context, trainer string, m scu.Metrics) error {
	if m.Step == 4 {
		x.point(inTelling)
	}
	return x.Broker.PublishMetrics(ctx, trainer, m)
}

func (x *stopping) PutAdapter(ctx context.Context, key scu.AdapterKey, zip io.Reader) (int64, string, error) {
	switch key.Step {
	case 4:
		x.point(inCheckpoint)
	case 0:
		x.point(inSaving)
	}
	return x.Broker.PutAdapter(ctx, key, zip)
}

func (x *stopping) Queue(ctx context.Context, trainer string, classes []string) (scu.Queue, error) {
	q, err := x.Broker.Queue(ctx, trainer, classes)
	return stoppingQueue{q, x}, err
}

// stoppingQueue and stoppingClaim tell what the attempt's context is.
type stoppingQueue struct {
	scu.Queue
	x *stopping
}

func (q stoppingQueue) Next(ctx context.Context) (scu.Claim, error) {
	c, err := q.Queue.Next(ctx)
	if err != nil {
		return nil, err
	}
	return stoppingClaim{c, q.x}, nil
}

type stoppingClaim struct {
	scu.Claim
	x *stopping
}

func (c stoppingClaim) Hold(ctx context.Context, attempt int) (context.Context, context.CancelFunc) {
	held, release := c.Claim.Hold(ctx, attempt)
	c.x.attempt.Store(&held)
	return held, release
}

// An attempt that is paused, or whose trainer stops, leaves the next one all that it has done: no
// step is made twice, and the bytes are those of a run that was never stopped.
func TestStoppedGoesOnFromThere(t *testing.T) {
	t.Parallel()
	s := newService(t)
	seldom := interrupted(100) // no checkpoint but those that a stop leaves
	run := func(x *stopping, change func(drain func(), job scu.Job)) (end scu.Job, begins []int) {
		t.Helper()
		job := s.submit(story(8000), seldom)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				running, drain := context.WithCancel(ctx)
				change(drain, job)
				tr := s.trainer("a", func() (_ kernels.Device, err error) {
					x.Device, err = cpu.New(1)
					return x, err
				})
				x.Broker, tr.Broker = tr.Broker, x
				if err := tr.Run(running); err != nil {
					t.Error(err)
				}
				drain()
			}
		}()
		end = s.wait(job.ID, func(m scu.Metrics) {
			if m.Attempt > len(begins) {
				begins = append(begins, m.Step)
			}
		})
		cancel()
		<-done
		return end, begins
	}
	whole, _ := run(&stopping{}, func(func(), scu.Job) {})
	want := s.adapter(whole)
	for _, c := range []struct {
		how, at string
		begin   int // the first step that the next attempt tells of; 0: none
	}{
		{stops, inStep, 4}, {stops, inValidation, 4}, {stops, inTelling, 5}, {stops, inCheckpoint, 5}, {stops, inSaving, 0},
		{paused, inValidation, 4}, {paused, inSaving, 0},
	} {
		x := &stopping{at: c.at}
		end, begins := run(x, func(drain func(), job scu.Job) {
			x.stop = func(ctx context.Context) {
				if c.how == stops {
					drain()
					return
				}
				s.pause(ctx, job.ID)
				if _, _, err := s.broker.Resume(t.Context(), job.ID); err != nil {
					t.Error(err)
				}
			}
		})
		if !bytes.Equal(s.adapter(end), want) {
			t.Errorf("%s %s: other bytes", c.how, c.at)
		}
		begins = append(begins, 0)
		if n := x.updates.Load(); n != 12 || end.Attempt != 2 || begins[1] != c.begin {
			t.Errorf("%s %s: %d updates for 12 steps in %d attempts, of which the second began at step %d, want %d", c.how, c.at, n, end.Attempt, begins[1], c.begin)
		}
	}
}
