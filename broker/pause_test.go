package broker

import (
	"context"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// idle reports whether a trainer gets no job though it waits a little.
func idle(t *testing.T, q *queue) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
	defer cancel()
	c, err := q.Next(ctx)
	if err == nil {
		t.Logf("job %s was handed out", c.Job().ID)
	}
	return err != nil
}

// A queued job that is paused is handed out to nobody until it is resumed; both may be
// said twice.
func TestPauseAQueuedJob(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	supervise(t, b)
	id, q := submit(t, b, 5), openQueue(t, b, "t1")
	for _, want := range []bool{false, true} {
		if j, already, err := b.Pause(testContext(t), id); err != nil || already != want || j.Status != scu.Paused {
			t.Fatalf("paused: %s, %v, %v", j.Status, already, err)
		}
	}
	if !idle(t, q) {
		t.Fatal("a paused job is handed out")
	}
	for _, want := range []bool{false, true} {
		if j, already, err := b.Resume(testContext(t), id); err != nil || already != want || j.Status != scu.Queued {
			t.Fatalf("resumed: %s, %v, %v", j.Status, already, err)
		}
	}
	if c := next(t, q); c.id != id {
		t.Fatalf("got job %s", c.id)
	}
}

// A running job that is paused is taken from its trainer at once, and goes to another
// when it is resumed; the claim of the first then takes nothing from the second.
func TestPauseARunningJob(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	id := submit(t, b, 0)
	first := next(t, openQueue(t, b, "t1"))
	attempt := start(t, b, id, "t1")
	held, release := first.Hold(testContext(t), attempt)
	defer release()
	if _, _, err := b.Pause(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
	wantCode(t, context.Cause(held), scu.CodeConflict)
	if j, _, err := b.Job(testContext(t), id); err != nil || j.Tries != 0 || j.Phase != "" {
		t.Fatalf("a pause is no try: %+v, %v", j, err)
	}
	if _, _, err := b.Resume(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	second := next(t, openQueue(t, b, "t2"))
	if err := first.Ack(); err != nil {
		t.Log("the old claim:", err)
	}
	attempt = start(t, b, id, "t2")
	wantCode(t, complete(b, id, "t1", attempt-1), scu.CodeConflict)
	if err := complete(b, id, "t2", attempt); err != nil {
		t.Fatal(err)
	}
	if err := second.Ack(); err != nil {
		t.Fatal(err)
	}
}

// What was resumed or retried is queued by the server, also if the queue is lost then.
func TestRetriedJobsOutliveTheQueue(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx := testContext(t)
	id, q := submit(t, b, 0), openQueue(t, b, "t1")
	c := next(t, q)
	attempt := start(t, b, id, "t1")
	_, _, err := b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) {
		return j.Fail(attempt, scu.Errorf(scu.CodeInternal, "broke"), time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ack(); err != nil {
		t.Fatal(err)
	}
	j, err := b.Retry(ctx, id, true)
	if err != nil || j.Status != scu.Queued || j.FromAttempt != attempt+1 || j.Error != nil || len(j.Warnings) != 1 {
		t.Fatalf("%+v, %v", j, err)
	}
	if err := b.js.DeleteStream(ctx, jobsStream); err != nil {
		t.Fatal(err)
	}
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	supervise(t, b)
	if c := next(t, q); c.id != id {
		t.Fatalf("got job %s", c.id)
	}
	if first, err := b.First(ctx, id); err != nil || first.Type != scu.EventSubmitted {
		t.Fatalf("its first entry is %q, %v", first.Type, err)
	}
}

// A job's time has come by NATS's clock, whatever that of the API says that queues it.
func TestScheduledByTheLogsClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		s := startServer(t, t.TempDir(), "")
		b := setUp(t, s)
		supervise(t, connect(t, Options{Server: s, Now: func() time.Time { return time.Now().Add(ahead) }}))
		schedule := func(in time.Duration) string {
			at := time.Now().Add(in)
			e := scu.Submission(scu.Job{BaseModel: "bookworm-2m", Class: "cpu", NotBefore: &at}, at.Add(-time.Hour))
			if _, err := b.Submit(testContext(t), e); err != nil {
				t.Fatal(err)
			}
			return e.Job.ID
		}
		late, soon := schedule(time.Hour), schedule(time.Second)
		if c := next(t, openQueue(t, b, "t1")); c.id != soon {
			t.Errorf("%v ahead: got job %s, want %s", ahead, c.id, soon)
		}
		if j, _, err := b.Job(testContext(t), late); err != nil || j.Status != scu.Scheduled {
			t.Errorf("%v ahead: the later job is %s, %v", ahead, j.Status, err)
		}
	}
}

// A scheduled job is handed out at its time and not earlier, by one of several APIs, and
// resumed before that at once.
func TestScheduledJobs(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	b := setUp(t, s)
	for range 2 {
		api := connect(t, Options{Server: s})
		ctx, cancel := context.WithCancel(testContext(t))
		done := make(chan struct{})
		go func() { defer close(done); api.Supervise(ctx, time.Hour) }()
		t.Cleanup(func() { cancel(); <-done })
	}
	q := openQueue(t, b, "t1")
	schedule := func(in time.Duration) scu.Job {
		at := time.Now().Add(in)
		e := scu.Submission(scu.Job{BaseModel: "bookworm-2m", Class: "cpu", NotBefore: &at}, time.Now())
		if _, err := b.Submit(testContext(t), e); err != nil || e.Job.Status != scu.Scheduled {
			t.Fatal(e.Job.Status, err)
		}
		return e.Job
	}
	late, soon := schedule(time.Hour), schedule(1500*time.Millisecond)
	c := next(t, q)
	if now := time.Now(); c.id != soon.ID || now.Before(*soon.NotBefore) {
		t.Fatalf("job %s came %v after its time", c.id, now.Sub(*soon.NotBefore))
	}
	if j, _, err := b.Resume(testContext(t), late.ID); err != nil || j.Status != scu.Queued {
		t.Fatal(j.Status, err)
	}
	if c := next(t, q); c.id != late.ID {
		t.Fatalf("got job %s", c.id)
	}
}
