package broker

import (
	"testing"

	"github.com/shannon-control/scu"
)

// However many jobs come and go, the queue begins with the message that is no job: at its
// first sequence the server would count all jobs for each that it hands out.
func TestQueueBeginsWithItsHead(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	begins := func() uint64 {
		t.Helper()
		info, err := b.existing(ctx, jobsStream)
		if err != nil {
			t.Fatal(err)
		}
		return info.State.FirstSeq
	}
	first := begins()
	q := openQueue(t, b, "t1")
	for range 3 {
		submit(t, b, 0)
		if err := next(t, q).Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Setup(ctx); err != nil { // of another API
		t.Fatal(err)
	}
	if at := begins(); at != first {
		t.Fatalf("the queue begins at %d, not at %d", at, first)
	}
	m, err := b.message(ctx, jobsStream, first)
	if err != nil || m.Subject != queueHead {
		t.Fatal(m, err)
	}
	id := submit(t, b, scu.MaxPriority)
	if err := b.mendLevels(ctx, map[string]idleLane{}); err != nil {
		t.Fatal(err)
	}
	if c := next(t, q); c.id != id {
		t.Fatal(c.id)
	}
}
