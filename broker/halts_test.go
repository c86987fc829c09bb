package broker

import (
	"errors"
	"slices"
	"testing"

	"github.com/shannon-control/scu"
)

// A halted queue hands out nothing, a draining trainer takes nothing while others do, and
// both go on when they are released; the log's followers pass over it.
func TestHalts(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx := testContext(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	one, two := openQueue(t, b, "t1"), openQueue(t, b, "t2")
	must(b.HaltQueue(ctx, true))
	must(b.HaltQueue(ctx, true))
	id := submit(t, b, 0)
	if !idle(t, one) || !idle(t, two) {
		t.Fatal("a halted queue hands out a job")
	}
	must(b.HaltQueue(ctx, false))
	must(b.Drain(ctx, "t1", true))
	if h, err := b.Halted(ctx); err != nil || h.Queue || !slices.Equal(h.Trainers, []string{"t1"}) {
		t.Fatalf("%+v, %v", h, err)
	}
	if !idle(t, one) {
		t.Fatal("a draining trainer takes a job")
	}
	c := next(t, two)
	if c.id != id {
		t.Fatalf("got job %s", c.id)
	}
	must(c.Ack())
	must(b.Drain(ctx, "t1", false))
	id = submit(t, b, 0)
	if c := next(t, one); c.id != id {
		t.Fatalf("got job %s", c.id)
	}
	must(b.LimitRunning(ctx, map[string]int{"ada": 2}))
	must(b.LimitRunning(ctx, map[string]int{"ada": 2}))
	must(b.Drain(ctx, "t2", true))
	if h, err := b.Halted(ctx); err != nil || h.MaxRunning("ada") != 2 || h.MaxRunning("bob") != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	wantCode(t, b.Drain(ctx, "no.name", true), scu.CodeInvalid)
	end, err := b.End(ctx)
	must(err)
	err = b.Follow(ctx, scu.Position{}, func(batch scu.Batch) error {
		if batch.Unreadable > 0 {
			t.Errorf("%d entries can't be read", batch.Unreadable)
		}
		if batch.To.State >= end.State {
			return errHalted // enough
		}
		return nil
	})
	if !errors.Is(err, errHalted) {
		t.Fatal(err)
	}
}

// A job that is claimed while the queue is halted, of which another API was told, goes back, and comes
// again once it is released.
func TestHaltedInTheMiddle(t *testing.T) {
	t.Parallel()
	s, ctx := startServer(t, t.TempDir(), ""), testContext(t)
	b, other := setUp(t, s), connect(t, Options{Server: s})
	id := submit(t, b, 0)
	q := openQueue(t, b, "t1")
	c, err := q.take(ctx)
	if err != nil || c.id != id {
		t.Fatal(c, err)
	}
	if err := other.HaltQueue(ctx, true); err != nil {
		t.Fatal(err)
	}
	if err := q.confirm(ctx, c); !errors.Is(err, errHalted) {
		t.Fatalf("a claim of a halted queue: %v", err)
	}
	if !idle(t, openQueue(t, other, "t2")) {
		t.Error("a halted queue hands out the job that went back")
	}
	if err := other.HaltQueue(ctx, false); err != nil {
		t.Fatal(err)
	}
	if c := next(t, q); c.id != id {
		t.Errorf("got job %s, want %s", c.id, id)
	}
}
