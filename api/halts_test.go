package api

import (
	"testing"

	"github.com/shannon-control/scu"
)

// A paused queue is told in health and in a queued job's status; a trainer that drains is
// shown so, and one that isn't there is refused.
func TestPauseTheQueueAndDrain(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	id := r.submit(nil)
	must(t, r.broker.Announce(ctx, scu.Presence{Trainer: trainer, Classes: []string{"cpu"}}))
	for _, halt := range []bool{true, false} {
		_, err := r.sdk.HaltQueue(ctx, halt)
		must(t, err)
		_, err = r.sdk.Drain(ctx, trainer, halt)
		must(t, err)
		h, err := r.sdk.Health(ctx)
		must(t, err)
		st, err := r.sdk.Status(ctx, id)
		must(t, err)
		l, err := r.sdk.Trainers(ctx)
		must(t, err)
		if h.QueuePaused != halt || st.QueuePaused != halt || l.Trainers[0].Draining != halt {
			t.Errorf("halted %v: %+v, %+v, %+v", halt, h, st, l)
		}
	}
	if _, err := r.sdk.Drain(ctx, "nobody", true); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("a trainer that isn't there: %v", err)
	}
}
