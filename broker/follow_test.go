package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// gather runs Follow and sends what it hands over, one batch at a time.
func gather(ctx context.Context, b *Broker, after scu.Position) (<-chan scu.Batch, <-chan error) {
	batches, ended := make(chan scu.Batch), make(chan error, 1)
	go func() {
		ended <- b.Follow(ctx, after, func(next scu.Batch) error {
			select {
			case batches <- next:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return batches, ended
}

// reader checks that entries come in order, each once.
type reader struct {
	t              testing.TB
	batches        <-chan scu.Batch
	state, metrics uint64
	nState, nMet   int
}

// until reads until so many entries of each stream have come in all.
func (r *reader) until(state, metrics int) {
	r.t.Helper()
	for r.nState < state || r.nMet < metrics {
		var b scu.Batch
		select {
		case b = <-r.batches:
		case <-time.After(patience):
			r.t.Fatalf("%d of %d state entries and %d of %d metrics came", r.nState, state, r.nMet, metrics)
		}
		if n := len(b.State) + len(b.Metrics); n == 0 || n > maxBatch {
			r.t.Fatalf("a batch of %d", n)
		}
		for _, e := range b.State {
			if e.Seq != r.state+1 {
				r.t.Fatalf("state entry %d after %d", e.Seq, r.state)
			}
			r.state = e.Seq
		}
		for _, e := range b.Metrics {
			if e.Seq != r.metrics+1 {
				r.t.Fatalf("metrics %d after %d", e.Seq, r.metrics)
			}
			r.metrics = e.Seq
		}
		if b.To.State != r.state || b.To.Metrics != r.metrics {
			r.t.Fatalf("batch ends at %d and %d, its entries at %d and %d", b.To.State, b.To.Metrics, r.state, r.metrics)
		}
		r.nState += len(b.State)
		r.nMet += len(b.Metrics)
	}
	if r.nState > state || r.nMet > metrics {
		r.t.Fatalf("%d state entries and %d metrics came, want %d and %d", r.nState, r.nMet, state, metrics)
	}
}

func TestFollowInOrderFromAnyPosition(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	id := submit(t, b, 0)
	publishSteps(t, b, id, 1, 0, 3000)
	batches, ended := gather(ctx, b, scu.Position{})
	r := &reader{t: t, batches: batches}
	r.until(1, 3000)
	attempt := start(t, b, id, "t1")
	publishSteps(t, b, id, 1, 3000, 3010)
	if err := complete(b, id, "t1", attempt); err != nil {
		t.Fatal(err)
	}
	r.until(3, 3010)
	if end, err := b.End(ctx); err != nil || end.State != 3 || end.Metrics != 3010 {
		t.Fatalf("the streams end at %+v, %v", end, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	ctx, cancel = context.WithCancel(testContext(t))
	defer cancel()
	batches, _ = gather(ctx, b, scu.Position{State: 2, Metrics: 3000})
	r = &reader{t: t, batches: batches, state: 2, metrics: 3000}
	r.until(1, 10)
}

func TestFollowCarryTheJob(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	id := submit(t, b, 3)
	start(t, b, id, "t1")
	batches, _ := gather(ctx, b, scu.Position{})
	var got []scu.LogEntry
	for len(got) < 2 {
		got = append(got, (<-batches).State...)
	}
	if e := got[0].Event; e.Type != scu.EventSubmitted || e.Job.ID != id || e.Job.Status != scu.Queued || e.Job.Priority != 3 {
		t.Fatalf("%+v", e)
	}
	if e := got[1].Event; e.Type != scu.EventStarted || e.Job.Status != scu.Running || e.Job.Attempt != 1 {
		t.Fatalf("%+v", e)
	}
}

func TestFollowGoOnAfterBreaks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := listenLow(t)
	address := l.Addr().String()
	l.Close()
	s := startServer(t, dir, address)
	writer := setUp(t, s)
	p := newProxy(t, s.URL())
	b := connect(t, Options{URL: p.url(), User: OperatorUser, Password: s.Password(OperatorUser), timeout: time.Second})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	batches, _ := gather(ctx, b, scu.Position{})
	r := &reader{t: t, batches: batches}
	id := submit(t, writer, 0)
	for i := range 3 {
		publishSteps(t, writer, id, 1, i*500, (i+1)*500)
		p.cut()
	}
	r.until(1, 1500)

	// The server itself goes down and comes up on the same address.
	s.Close()
	s = startServer(t, dir, address)
	submit(t, connect(t, Options{Server: s}), 0)
	r.until(2, 1500)
}

func TestFollowEndWithTheirCallback(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	submit(t, b, 0)
	no := errors.New("no")
	if err := b.Follow(ctx, scu.Position{}, func(scu.Batch) error { return no }); err != no {
		t.Fatal(err)
	}
}

func TestFollowOfOtherStreams(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	err := b.Follow(ctx, scu.Position{State: 5, Metrics: 0}, func(scu.Batch) error { return nil })
	wantCode(t, err, scu.CodeConflict)
	if !errors.Is(err, scu.ErrOtherLog) {
		t.Fatal(err)
	}
}

func TestUnreadableEntriesAreStepsOnTheWay(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	if _, err := b.js.Publish(ctx, stateSubject(scu.NewJobID(), "t1", scu.EventStarted), []byte("{")); err != nil {
		t.Fatal(err)
	}
	submit(t, b, 0)
	batches, _ := gather(ctx, b, scu.Position{})
	var got []scu.LogEntry
	var last uint64
	for len(got) < 1 {
		n := <-batches
		got, last = append(got, n.State...), n.To.State
	}
	if got[0].Seq != 2 || last != 2 {
		t.Fatal(fmt.Sprint(got[0].Seq, last))
	}
}

// A job's own entries come from the first on, and nobody else's.
func TestFollowJob(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	id := submit(t, b, 0)
	submit(t, b, 0)
	entries, err := b.FollowJob(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	attempt := start(t, b, id, "t1")
	submit(t, b, 0)
	if err := complete(b, id, "t1", attempt); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for _, want := range []scu.EventType{scu.EventSubmitted, scu.EventStarted, scu.EventCompleted} {
		e := <-entries
		if e.Event.Type != want || e.Event.Job.ID != id || e.Seq <= last {
			t.Fatalf("got entry %d, %s of job %s; want %s", e.Seq, e.Event.Type, e.Event.Job.ID, want)
		}
		last = e.Seq
	}
	cancel()
	for range entries { // closes
	}
	_, err = b.FollowJob(testContext(t), ">", 0)
	wantCode(t, err, scu.CodeNotFound)
}

// A job's entries up to one that it has are read, and nobody is left to follow it.
func TestJobEntries(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	submit(t, b, 0)
	attempt := start(t, b, id, "t1")
	if err := complete(b, id, "t1", attempt); err != nil {
		t.Fatal(err)
	}
	_, end, err := b.Job(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	all, err := b.JobEntries(ctx, id, end)
	if err != nil || len(all) != 3 || all[2].Seq != end {
		t.Fatalf("%+v, %v; want three entries up to %d", all, err, end)
	}
	for i, want := range []scu.EventType{scu.EventSubmitted, scu.EventStarted, scu.EventCompleted} {
		if e := all[i]; e.Event.Type != want || e.Event.Job.ID != id {
			t.Errorf("entry %d is %s of job %s; want %s", e.Seq, e.Event.Type, e.Event.Job.ID, want)
		}
	}
	s, err := b.stream(ctx, stateStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(ctx)
	if err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers are left, %v", info.State.Consumers, err)
	}
	_, err = b.JobEntries(ctx, ">", 0)
	wantCode(t, err, scu.CodeNotFound)
	short, cancel := context.WithTimeout(ctx, 10*retryWait)
	defer cancel()
	if _, err = b.JobEntries(short, id, end+1); err == nil {
		t.Error("an entry that the job hasn't was read")
	}
}

func TestLastMetrics(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	_, err := b.LastMetrics(ctx, id)
	wantCode(t, err, scu.CodeNotFound)
	publishSteps(t, b, scu.NewJobID(), 1, 0, 3)
	publishSteps(t, b, id, 1, 0, 7)
	publishSteps(t, b, scu.NewJobID(), 1, 0, 3)
	e, err := b.LastMetrics(ctx, id)
	if err != nil || e.Seq != 10 || e.Metrics.JobID != id || e.Metrics.Step != 6 {
		t.Fatalf("%+v, %v", e, err)
	}
}
