package broker

import (
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// newArbiter is an arbiter that nobody serves.
func newArbiter(t *testing.T, b *Broker) *Arbiter {
	t.Helper()
	a, err := NewArbiter(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// However many questions a trainer asks at once, an arbiter waits in the queue for it once.
func TestOneSessionForATrainer(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	a := newArbiter(t, b)
	before := b.nc.NumSubscriptions()
	begin := make(chan struct{})
	var asking sync.WaitGroup
	for range maxBusy {
		asking.Go(func() {
			<-begin
			if _, err := a.session(a.ctx, question{Trainer: "t1", Classes: []string{"cpu"}}); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	asking.Wait()
	sessions := b.nc.NumSubscriptions() - before
	openQueue(t, b, "t2")
	if queue := b.nc.NumSubscriptions() - before - sessions; sessions != queue {
		t.Errorf("the trainer's session listens to %d subjects, a queue to %d", sessions, queue)
	}
}

// A job that came for a trainer while its arbiter ends goes back at once, and an upload goes
// to another.
func TestNoOfferOfAnArbiterThatEnded(t *testing.T) {
	t.Parallel()
	b := connect(t, Options{Server: startServer(t, t.TempDir(), ""), AckWait: time.Minute, Rescan: lasting.Rescan})
	if err := b.Setup(testContext(t)); err != nil {
		t.Fatal(err)
	}
	a := newArbiter(t, b)
	id := submit(t, b, 0)
	queue := openQueue(t, b, "t1")
	c := next(t, queue)
	a.Close()
	if out := a.offer("t1", c); out.Offer != "" {
		t.Error("an arbiter that ended offers a job")
	}
	if again := next(t, queue); again.id != id {
		t.Errorf("got job %s, want %s", again.id, id)
	}
	attempt := start(t, b, id, "t1")
	_, err := a.put(testContext(t), question{Job: id, Trainer: "t1", Attempt: attempt})
	wantCode(t, err, scu.CodeUnavailable)
}
