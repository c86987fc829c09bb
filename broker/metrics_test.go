package broker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

func step(job string, attempt, n int) scu.Metrics {
	return scu.Metrics{JobID: job, Attempt: attempt, Step: n, Steps: 1000, CE: 1.5, DataBPT: 2.2, Timestamp: time.Now().UTC()}
}

// publishSteps may be called from any goroutine.
func publishSteps(t testing.TB, b *Broker, job string, attempt, from, to int) {
	t.Helper()
	ctx := testContext(t)
	for i := from; i < to; i++ {
		if err := b.PublishMetrics(ctx, "t1", step(job, attempt, i)); err != nil {
			t.Error(err)
		}
	}
	if err := b.FlushMetrics(ctx); err != nil {
		t.Error(err)
	}
}

// newSteps follows a job's metrics, as a watcher does: with what is new of them only.
func newSteps(ctx context.Context, b *Broker, job string) (<-chan scu.Metrics, error) {
	entries, err := b.FollowMetrics(ctx, job)
	if err != nil {
		return nil, err
	}
	out := make(chan scu.Metrics)
	go func() {
		defer close(out)
		var filter scu.StepFilter
		for e := range entries {
			if !filter.Pass(e.Metrics) {
				continue
			}
			select {
			case out <- e.Metrics:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

func wantSteps(t testing.TB, got <-chan scu.Metrics, attempt, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		select {
		case m := <-got:
			if m.Attempt != attempt || m.Step != i {
				t.Fatalf("got step %d of attempt %d, want %d of %d", m.Step, m.Attempt, i, attempt)
			}
		case <-time.After(patience):
			t.Fatalf("step %d of attempt %d does not come", i, attempt)
		}
	}
}

func TestMetricsHistoryThenLive(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	id, other := scu.NewJobID(), scu.NewJobID()
	publishSteps(t, b, id, 1, 0, 700)
	publishSteps(t, b, other, 1, 0, 10)
	got, err := newSteps(ctx, b, id)
	if err != nil {
		t.Fatal(err)
	}
	var publisher sync.WaitGroup
	publisher.Go(func() { publishSteps(t, b, id, 1, 700, 1500) }) // while the history is being read
	wantSteps(t, got, 1, 0, 1500)
	publisher.Wait()
	cancel()
	for range got { // closes
	}
}

// A resumed attempt may step back; what the old one still says is left out.
func TestMetricsOfAttempts(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := scu.NewJobID()
	got, err := newSteps(ctx, b, id)
	if err != nil {
		t.Fatal(err)
	}
	publishSteps(t, b, id, 1, 0, 20)
	publishSteps(t, b, id, 2, 15, 20)
	publishSteps(t, b, id, 1, 20, 25) // stale
	publishSteps(t, b, id, 2, 18, 30) // two sent again
	wantSteps(t, got, 1, 0, 20)
	wantSteps(t, got, 2, 15, 30)
}

func TestMetricsOverBrokenConnections(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	reader := setUp(t, s)
	p := newProxy(t, s.URL())
	b := connect(t, Options{URL: p.url(), User: OperatorUser, Password: s.Password(OperatorUser), timeout: 500 * time.Millisecond})
	id := scu.NewJobID()
	got, err := newSteps(testContext(t), reader, id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		from := i * 300
		if i == 3 {
			p.setMute()                                 // stored, but the answers are lost
			time.AfterFunc(100*time.Millisecond, p.cut) // or the trainer, and we, would wait for ever
		}
		for n := from; n < from+300; n++ {
			if err := b.PublishMetrics(testContext(t), "t1", step(id, 1, n)); err != nil {
				t.Fatal(err)
			}
		}
		p.cut()
	}
	if err := b.FlushMetrics(testContext(t)); err != nil {
		t.Fatal(err)
	}
	wantSteps(t, got, 1, 0, 1500)
}

func TestRefusedMetrics(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	wantCode(t, b.PublishMetrics(ctx, "t.1", step(scu.NewJobID(), 1, 0)), scu.CodeInvalid)
	wantCode(t, b.PublishMetrics(ctx, "t1", step("*", 1, 0)), scu.CodeInvalid)
	_, err := b.FollowMetrics(ctx, ">")
	wantCode(t, err, scu.CodeNotFound)
}

// Whoever need not wait for room is not refused because its context has ended: a trainer that is
// told to stop tells of the step that it has just made.
func TestMetricsOfAnEndedContext(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	b, a := setUp(t, s), newAgent(t, s, "t1")
	over, end := context.WithCancel(t.Context())
	end()
	for i := range 50 { // one that chose by chance would take half of them
		if err := b.PublishMetrics(over, "t1", step(scu.NewJobID(), 1, i)); err != nil {
			t.Fatal(err)
		}
		if err := a.PublishMetrics(over, "t1", step(scu.NewJobID(), 1, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that is away for long holds the trainer up, but not beyond its ctx.
func TestMetricsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	setUp(t, s)
	b := connect(t, Options{Server: s, timeout: 100 * time.Millisecond})
	s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	id := scu.NewJobID()
	for i := range metricsInFlight + 1 {
		if err := b.PublishMetrics(ctx, "t1", step(id, 1, i)); err != nil {
			wantCode(t, err, scu.CodeUnavailable)
			if i < metricsInFlight {
				t.Fatalf("refused step %d", i)
			}
			return
		}
	}
	t.Fatal("more is in flight than may be")
}
