package trainer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
)

// hardOfHearing is a broker whose answer to a job's first checkpoint is lost, though the
// log has it.
type hardOfHearing struct {
	Broker
	lost error
	once sync.Once
	back chan struct{} // closed when a job is handed back
}

func (b *hardOfHearing) Say(ctx context.Context, id, who string, w scu.Word) (scu.Job, error) {
	j, err := b.Broker.Say(ctx, id, who, w)
	switch {
	case err == nil && w.Type == scu.EventCheckpoint:
		b.once.Do(func() { err = b.lost })
	case err == nil && w.Type == scu.EventHandedBack:
		close(b.back)
	}
	return j, err
}

// A checkpoint that the log has can be fetched, also if the trainer never learned that
// the log has it.
func TestCheckpointWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	s := newService(t)
	tr := s.trainer("a", nil)
	b := &hardOfHearing{Broker: tr.Broker, lost: scu.Errorf(scu.CodeUnavailable, "no answer"), back: make(chan struct{})}
	tr.Broker = b
	go tr.Run(t.Context())
	j := s.submit(story(8_000), func(j *scu.Job) { j.Config.EvalEvery = 1 })
	<-b.back
	j, _, err := s.broker.Job(t.Context(), j.ID)
	must(t, err)
	c, err := j.Checkpoint("last")
	must(t, err)
	zip, size, err := s.broker.GetAdapter(t.Context(), scu.AdapterKey{Job: j.ID, Attempt: c.Attempt, Step: c.Step})
	must(t, err)
	zip.Close()
	if size != c.Size {
		t.Errorf("%d bytes, not %d", size, c.Size)
	}
}

// A full disk may have lost the answer alone: the checkpoint can be fetched if the log has it.
func TestCheckpointWhoseAnswerAFullDiskLost(t *testing.T) {
	t.Parallel()
	s := newService(t)
	tr := s.trainer("a", nil)
	tr.Broker = &hardOfHearing{Broker: tr.Broker, lost: &scu.Error{Code: scu.CodeStorage, Message: "the disk is full", Retry: true}}
	go tr.Run(t.Context())
	j := s.wait(s.submit(story(8_000), func(j *scu.Job) { j.Config.EvalEvery, j.Config.KeepCheckpoints = 1, 1000 }).ID, nil)
	if j.Status != scu.Completed || len(j.Checkpoints) == 0 || j.Checkpoints[0].Step != 1 {
		t.Fatalf("%s with checkpoints %+v", j.Status, j.Checkpoints)
	}
	for _, c := range j.Checkpoints {
		zip, _, err := s.broker.GetAdapter(t.Context(), scu.AdapterKey{Job: j.ID, Attempt: c.Attempt, Step: c.Step})
		if err != nil {
			t.Fatalf("step %d: %v", c.Step, err)
		}
		zip.Close()
	}
}

// noRoom is a broker whose log takes no checkpoints.
type noRoom struct{ Broker }

func (b noRoom) Say(ctx context.Context, id, who string, w scu.Word) (scu.Job, error) {
	if w.Type == scu.EventCheckpoint {
		return scu.Job{}, scu.Errorf(scu.CodeStorage, "no room")
	}
	return b.Broker.Say(ctx, id, who, w)
}

// What is left of a nearly full disk is the log's: a job runs to its end without checkpoints,
// says what its adapter waits for, and completes once there is room, with nothing trained again.
func TestNearlyFullDisk(t *testing.T) {
	t.Parallel()
	s := newService(t)
	tr := s.trainer("a", nil)
	tr.retryWait = time.Millisecond
	var freed atomic.Bool
	var made atomic.Int64 // checkpoints that the job would resume from, as seen at each next step
	tr.Room = func(bytes int64) error {
		if freed.Load() {
			return nil
		}
		found, err := filepath.Glob(filepath.Join(tr.CheckpointDir, "*", "*"))
		made.Add(int64(len(found)))
		if bytes < 100_000 { // the adapter has 54,272 weights, a checkpoint two moments of each besides
			err = errors.Join(err, fmt.Errorf("asked for %d bytes", bytes))
		}
		return errors.Join(scu.Errorf(scu.CodeStorage, "the disk is nearly full"), err)
	}
	tr.CheckpointRoom = tr.Room
	go tr.Run(t.Context())
	id := s.submit(story(8_000), func(j *scu.Job) { j.Config.EvalEvery, j.Config.CheckpointEvery = 1, 1 }).ID
	j := s.until(id, nil, waits)
	if j.Status != scu.Running || j.Phase != scu.SavingAdapter || !slices.Contains(j.Warnings, awaitsRoom+"the disk is nearly full") ||
		!slices.Contains(j.Warnings, lostCheckpoint+"step 1: the disk is nearly full") {
		t.Errorf("%s, %s, warned %q", j.Status, j.Phase, j.Warnings)
	}
	if n := made.Load(); len(j.Checkpoints) > 0 || n > 0 {
		t.Errorf("checkpoints %+v, and %d to resume from", j.Checkpoints, n)
	}
	freed.Store(true)
	if j = s.wait(id, nil); j.Status != scu.Completed || j.Attempt != 1 {
		t.Errorf("%s in attempt %d: %v", j.Status, j.Attempt, j.Error)
	}
}

// Attempts that find the disk full one after the other, each with other figures, warn their job once
// of each kind.
func TestAFullDiskIsToldOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	job := s.submit(story(8_000), func(j *scu.Job) { j.Config.KeepCheckpoints, j.Config.CheckpointEvery = 0, 1 })
	var told []string
	for attempt := 1; attempt <= 2; attempt++ {
		tr := s.trainer(fmt.Sprintf("t%d", attempt), nil)
		tr.retryWait = time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		full := scu.Errorf(scu.CodeStorage, "the disk is nearly full in attempt %d", attempt)
		tries := 0
		tr.Room = func(int64) error { // for the adapter: it was told of before it is tried again
			if tries++; tries == 2 {
				cancel()
			}
			return full
		}
		tr.CheckpointRoom = func(int64) error { return full }
		must(t, tr.Run(ctx))
	}
	j := s.until(job.ID, nil, func(j scu.Job) bool { return j.Attempt == 2 && j.Status == scu.Queued || j.Status.Ended() })
	for _, w := range j.Warnings {
		if strings.HasPrefix(w, lostCheckpoint) || strings.HasPrefix(w, awaitsRoom) {
			told = append(told, w)
		}
	}
	if len(told) != 2 || j.Status != scu.Queued || !strings.HasSuffix(told[0], "in attempt 1") || !strings.HasSuffix(told[1], "in attempt 1") {
		t.Errorf("%s, warned %q", j.Status, told)
	}
}

// waits reports whether a job waits for room for its adapter, or will not any more.
func waits(j scu.Job) bool {
	return j.Status == scu.Queued && j.Attempt > 0 || j.Status.Ended() ||
		slices.ContainsFunc(j.Warnings, func(w string) bool { return strings.HasPrefix(w, awaitsRoom) })
}

// A store that has no room for an adapter costs its job time alone: it says what it waits for, a trainer
// that takes it over trains nothing again, and the bytes are those that they would have been.
func TestAFullStoreCostsNoTraining(t *testing.T) {
	t.Parallel()
	s := newService(t, func(o *broker.Options) { o.StoreBytes = 1 << 20 })
	run := func(name string) (stop func()) {
		tr := s.trainer(name, nil)
		tr.retryWait = time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tr.Run(ctx) }()
		return func() {
			cancel()
			must(t, <-done)
		}
	}
	stop := run("a")
	seldom := func(j *scu.Job) { j.Config.KeepCheckpoints, j.Config.CheckpointEvery = 0, 1000 }
	whole := s.wait(s.submit(story(8_000), seldom).ID, nil)
	want := s.adapter(whole)
	must(t, s.broker.DeleteAdapter(t.Context(), whole.AdapterKey()))
	filler := scu.AdapterKey{Job: scu.NewJobID(), Attempt: 1}
	_, _, err := s.broker.PutAdapter(t.Context(), filler, bytes.NewReader(make([]byte, 900<<10)))
	must(t, err)

	id := s.submit(story(8_000), seldom).ID
	if j := s.until(id, nil, waits); j.Status != scu.Running || j.Phase != scu.SavingAdapter || j.Attempt != 1 {
		t.Fatalf("%s, %s in attempt %d: %v", j.Status, j.Phase, j.Attempt, j.Error)
	}
	stop()
	stop = run("b")
	again := func(j scu.Job) bool { return j.Attempt == 2 && j.Phase == scu.SavingAdapter || j.Status.Ended() }
	if j := s.until(id, nil, again); j.Status != scu.Running {
		t.Fatalf("%s in attempt %d: %v", j.Status, j.Attempt, j.Error)
	}
	must(t, s.broker.DeleteAdapter(t.Context(), filler))
	steps := map[int]int{}
	end := s.wait(id, func(m scu.Metrics) { steps[m.Attempt]++ })
	stop()
	if got := s.adapter(end); !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
	if steps[1] != end.Steps || len(steps) > 1 || end.Attempt != 2 {
		t.Errorf("steps by attempt %v for %d steps, in %d attempts", steps, end.Steps, end.Attempt)
	}
}

// A checkpoint that the log has no room for costs the job nothing, and its zip goes.
func TestCheckpointsThatAFullLogRefuses(t *testing.T) {
	t.Parallel()
	s := newService(t)
	tr := s.trainer("a", nil)
	tr.Broker = noRoom{tr.Broker}
	go tr.Run(t.Context())
	j := s.wait(s.submit(story(8_000), func(j *scu.Job) { j.Config.EvalEvery = 1 }).ID, nil)
	if j.Status != scu.Completed || len(j.Checkpoints) > 0 {
		t.Fatalf("%s with checkpoints %+v", j.Status, j.Checkpoints)
	}
	_, _, err := s.broker.GetAdapter(t.Context(), scu.AdapterKey{Job: j.ID, Attempt: j.Attempt, Step: 1})
	if scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("the zip of step 1: %v", err)
	}
}
