package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// Ping is right about a service that can't store: it asks the streams, and the
// supervisor.
func TestPing(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id, begin := submit(t, b, 0), time.Now()
	for range 3 {
		if err := b.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	end, err := b.End(ctx)
	if most := 2 + uint64(time.Since(begin)/probeAge); err != nil || end.State < 2 || end.State > most { // one probe counts for a second
		t.Fatalf("%+v, %v", end, err)
	}
	stop := errors.New("enough")
	err = b.Follow(ctx, scu.Position{}, func(n scu.Batch) error {
		if n.Unreadable != 0 || len(n.State) > 1 || len(n.State) == 1 && n.State[0].Event.Job.ID != id {
			t.Errorf("read %+v", n)
		}
		if n.To.Reached(end) {
			return stop
		}
		return nil
	})
	if err != stop {
		t.Fatal(err)
	}

	b.found("reconciler", errors.New("it can't read"))
	wantCode(t, b.Ping(ctx), scu.CodeUnavailable)
	b.found("reconciler", nil)
	if err := b.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(ctx, jobsStream); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.Ping(ctx), scu.CodeUnavailable)
	if err := b.js.DeleteStream(ctx, stateStream); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.Ping(ctx), scu.CodeUnavailable)
}
