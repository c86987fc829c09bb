package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// gather runs Events and sends what it hands over, one batch at a time.
func gather(ctx context.Context, b *Broker, afterState, afterMetrics uint64) (<-chan Batch, <-chan error) {
	batches, ended := make(chan Batch), make(chan error, 1)
	go func() {
		ended <- b.Events(ctx, afterState, afterMetrics, func(next Batch) error {
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
	batches        <-chan Batch
	state, metrics uint64
	nState, nMet   int
}

// until reads until so many entries of each stream have come in all.
func (r *reader) until(state, metrics int) {
	r.t.Helper()
	for r.nState < state || r.nMet < metrics {
		var b Batch
		select {
		case b = <-r.batches:
		case <-time.After(20 * time.Second):
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
		if b.LastState != r.state || b.LastMetrics != r.metrics {
			r.t.Fatalf("batch ends at %d and %d, its entries at %d and %d", b.LastState, b.LastMetrics, r.state, r.metrics)
		}
		r.nState += len(b.State)
		r.nMet += len(b.Metrics)
	}
	if r.nState > state || r.nMet > metrics {
		r.t.Fatalf("%d state entries and %d metrics came, want %d and %d", r.nState, r.nMet, state, metrics)
	}
}

func TestEventsInOrderFromAnyPosition(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	id := submit(t, b, 0)
	publishSteps(t, b, id, 1, 0, 3000)
	batches, ended := gather(ctx, b, 0, 0)
	r := &reader{t: t, batches: batches}
	r.until(1, 3000)
	attempt := start(t, b, id, "t1")
	publishSteps(t, b, id, 1, 3000, 3010)
	if err := complete(b, id, "t1", attempt); err != nil {
		t.Fatal(err)
	}
	r.until(3, 3010)
	if state, metrics, err := b.End(ctx); err != nil || state != 3 || metrics != 3010 {
		t.Fatalf("the streams end at %d and %d, %v", state, metrics, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	ctx, cancel = context.WithCancel(testContext(t))
	defer cancel()
	batches, _ = gather(ctx, b, 2, 3000)
	r = &reader{t: t, batches: batches, state: 2, metrics: 3000}
	r.until(1, 10)
}

func TestEventsCarryTheJob(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	id := submit(t, b, 3)
	start(t, b, id, "t1")
	batches, _ := gather(ctx, b, 0, 0)
	var got []StateEntry
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

func TestEventsGoOnAfterBreaks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	writer := setUp(t, s)
	p := newProxy(t, s.URL())
	b := connect(t, Options{URL: p.url(), User: OperatorUser, Password: s.Password(OperatorUser), timeout: time.Second})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	batches, _ := gather(ctx, b, 0, 0)
	r := &reader{t: t, batches: batches}
	id := submit(t, writer, 0)
	for i := range 3 {
		publishSteps(t, writer, id, 1, i*500, (i+1)*500)
		p.cut()
	}
	r.until(1, 1500)

	// The server itself goes down and comes up on the same address.
	address := s.ns.Addr().String()
	s.Close()
	s = startServer(t, dir, address)
	submit(t, connect(t, Options{Server: s}), 0)
	r.until(2, 1500)
}

func TestEventsEndWithTheirCallback(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	submit(t, b, 0)
	no := errors.New("no")
	if err := b.Events(ctx, 0, 0, func(Batch) error { return no }); err != no {
		t.Fatal(err)
	}
}

func TestEventsOfOtherStreams(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	err := b.Events(ctx, 5, 0, func(Batch) error { return nil })
	wantCode(t, err, scu.CodeConflict)
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
	batches, _ := gather(ctx, b, 0, 0)
	var got []StateEntry
	var last uint64
	for len(got) < 1 {
		n := <-batches
		got, last = append(got, n.State...), n.LastState
	}
	if got[0].Seq != 2 || last != 2 {
		t.Fatal(fmt.Sprint(got[0].Seq, last))
	}
}
