package broker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// awaitConsumers waits until a stream has so many consumers: one that read the past is deleted
// a moment later.
func awaitConsumers(t *testing.T, b *Broker, stream string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		has := infoOf(t, b, stream).State.Consumers
		if has == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d consumers, not %d", has, n)
		}
	}
}

// Whoever follows a job gets each step once and in order, however slowly they read; all of them
// together are one consumer, and none once they are gone.
func TestFollowersShareAReading(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	jobs := []string{scu.NewJobID(), scu.NewJobID()}
	slow, err := newSteps(ctx, b, jobs[0])
	if err != nil {
		t.Fatal(err)
	}
	const last = 10 * followerRoom
	var readers sync.WaitGroup
	joined := make(chan struct{})
	for n := range 20 {
		got, err := newSteps(ctx, b, jobs[n%2])
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			wantSteps(t, got, 1, 0, 1)
			joined <- struct{}{}
			wantSteps(t, got, 1, 1, last)
		})
	}
	for _, job := range jobs {
		publishSteps(t, b, job, 1, 0, 1)
	}
	wantSteps(t, slow, 1, 0, 1)
	for range 20 {
		<-joined
	}
	awaitConsumers(t, b, metricsStream, 1)
	for _, job := range jobs {
		publishSteps(t, b, job, 1, 1, last)
	}
	readers.Wait()
	wantSteps(t, slow, 1, 1, last) // most of which it hadn't room for
	cancel()
	for range slow { // closes
	}
	awaitConsumers(t, b, metricsStream, 0)
}

// Sequences of another stream say nothing to who followed the old one.
func TestFollowersOfAReplacedStream(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	job := scu.NewJobID()
	got, err := newSteps(ctx, b, job)
	if err != nil {
		t.Fatal(err)
	}
	publishSteps(t, b, job, 1, 0, 10)
	wantSteps(t, got, 1, 0, 10)
	if err := b.js.DeleteStream(ctx, metricsStream); err != nil {
		t.Fatal(err)
	}
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case m, open := <-got:
		if open {
			t.Fatal(m)
		}
	case <-ctx.Done():
		t.Fatal("they still wait")
	}
	publishSteps(t, b, job, 1, 0, 10)
	if got, err = newSteps(ctx, b, job); err != nil {
		t.Fatal(err)
	}
	wantSteps(t, got, 1, 0, 10)
}

// Who still reads what the old stream had doesn't wait for the new one to get that far.
func TestAStreamIsReplacedWhileItsPastIsRead(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	job := scu.NewJobID()
	publishSteps(t, b, job, 1, 0, 3*followerRoom)
	got, err := b.FollowMetrics(ctx, job)
	if err != nil {
		t.Fatal(err)
	}
	<-got // more than it reads at a time is left
	if err := b.js.DeleteStream(ctx, metricsStream); err != nil {
		t.Fatal(err)
	}
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	for range got { // closes
	}
	if ctx.Err() != nil {
		t.Error("it still waits")
	}
}

// A message that the server sent and that never came, as one that is late, is not passed over.
func TestPresentMissesNothing(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	publishSteps(t, b, scu.NewJobID(), 1, 0, followerRoom+10)
	came := 0
	err := b.present(ctx, metricsStream, "", 1, false, func(_ uint64, m jetstream.Msg) error {
		if came++; came < followerRoom {
			return nil
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		c, err := b.js.Consumer(ctx, meta.Stream, meta.Consumer)
		if err != nil {
			return err
		}
		_, err = c.Next() // somebody else has the next one
		return err
	})
	wantCode(t, err, scu.CodeUnavailable)
	if came != followerRoom {
		t.Errorf("%d came", came)
	}
}
