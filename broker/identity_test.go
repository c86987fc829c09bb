package broker

import (
	"context"
	"errors"
	"testing"

	"github.com/shannon-control/scu"
)

// A log that was wiped and has grown past the old one's end is another: whoever stood in
// the old one is told, when it begins and while it reads.
func TestAnotherLogIsNoticed(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	submit(t, b, 0)
	old, err := b.End(ctx)
	if err != nil || old.Log == "" || old.State != 1 {
		t.Fatalf("%+v, %v", old, err)
	}
	if err := b.Setup(ctx); err != nil { // a start of another API
		t.Fatal(err)
	}
	if same, err := b.End(ctx); err != nil || same != old {
		t.Fatalf("%+v, %v, want %+v", same, err, old)
	}

	stop := errors.New("that's all")
	read, reading := make(chan error, 1), make(chan struct{})
	go func() {
		first := true
		read <- b.Follow(ctx, scu.Position{}, func(n scu.Batch) error {
			if first {
				first = false
				close(reading)
			}
			if n.To.Log != old.Log {
				return stop
			}
			return nil
		})
	}()
	<-reading
	for _, name := range []string{stateStream, jobsStream, metricsStream} {
		if err := b.js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	b.levels.forgetAll()
	var last string
	for range 3 {
		last = submit(t, b, 0)
	}
	if err := <-read; !errors.Is(err, scu.ErrOtherLog) {
		t.Fatalf("the reader goes on in the new log: %v", err)
	}
	if err := b.Follow(ctx, old, func(scu.Batch) error { return nil }); !errors.Is(err, scu.ErrOtherLog) || scu.CodeOf(err) != scu.CodeConflict {
		t.Fatalf("a position of the old log is taken: %v", err)
	}
	follow, cancel := context.WithCancel(ctx)
	defer cancel()
	err = b.Follow(follow, scu.Position{}, func(n scu.Batch) error {
		for _, e := range n.State {
			if e.Event.Job.ID == last {
				return stop
			}
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
}
