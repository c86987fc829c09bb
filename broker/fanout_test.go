package broker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
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

// awaitFilters waits until the one consumer of a stream is of so many subjects.
func awaitFilters(t *testing.T, b *Broker, stream string, n int) {
	t.Helper()
	for ctx := testContext(t); ; time.Sleep(10 * time.Millisecond) {
		s, err := b.stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		has := []int{}
		for c := range s.ListConsumers(ctx).Info() {
			has = append(has, len(c.Config.FilterSubjects))
		}
		if slices.Equal(has, []int{n}) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("consumers are of %d subjects, not one of %d", has, n)
		}
	}
}

// Who follows a job is sent what is of it, and not what other jobs do: neither that of jobs that nobody
// follows nor that of one that somebody followed.
func TestFollowersAreSentTheirJobsAlone(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	job, left, other := scu.NewJobID(), scu.NewJobID(), scu.NewJobID()
	got, err := newSteps(ctx, b, job)
	if err != nil {
		t.Fatal(err)
	}
	leaving, leave := context.WithCancel(ctx)
	gone, err := newSteps(leaving, b, left)
	if err != nil {
		t.Fatal(err)
	}
	publishSteps(t, b, job, 1, 0, 1)
	publishSteps(t, b, left, 1, 0, 1)
	wantSteps(t, got, 1, 0, 1)
	wantSteps(t, gone, 1, 0, 1)
	leave()
	for range gone { // closes
	}
	awaitFilters(t, b, metricsStream, 1)
	const others = 2000
	before := b.nc.Stats().InMsgs
	publishSteps(t, b, other, 1, 0, others)
	publishSteps(t, b, left, 1, 1, others)
	publishSteps(t, b, job, 1, 1, 10)
	wantSteps(t, got, 1, 1, 10)
	if came := b.nc.Stats().InMsgs - before; came > others {
		t.Errorf("for 9 steps of a job that is followed %d messages came, with %d of others", came, 2*others-1)
	}
}

// Of more jobs than a consumer is asked for by their subjects each gets its steps too, as do those that
// are left when others go.
func TestFollowersOfManyJobs(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	few, leave := context.WithCancel(ctx)
	var jobs []string
	var steps []<-chan scu.Metrics
	for n := range mostFilters + 1 {
		of := ctx
		if n > 1 {
			of = few
		}
		jobs = append(jobs, scu.NewJobID())
		got, err := newSteps(of, b, jobs[n])
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, got)
	}
	for step := range 2 {
		for n := range jobs {
			publishSteps(t, b, jobs[n], 1, step, step+1)
		}
		for n := range jobs {
			wantSteps(t, steps[n], 1, step, step+1)
		}
	}
	leave()
	awaitFilters(t, b, metricsStream, 2)
	for n := range 2 {
		publishSteps(t, b, jobs[n], 1, 2, 4)
		wantSteps(t, steps[n], 1, 2, 4)
	}
}

// Whoever follows a job gets each step once and in order, though others begin and end to follow it and
// other jobs meanwhile, and the connection breaks.
func TestFollowersComeAndGo(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	writer, ctx := setUp(t, s), testContext(t)
	p := newProxy(t, s.URL())
	b := connect(t, Options{URL: p.url(), User: OperatorUser, Password: s.Password(OperatorUser), timeout: time.Second})
	var jobs [3]struct {
		sync.Mutex
		id    string
		steps int // that were published
	}
	for n := range jobs {
		jobs[n].id = scu.NewJobID()
	}
	const followers, times, each, cutAfter = 8, 12, 10, 20
	var began atomic.Int64
	follow := func(n int) {
		job := &jobs[n%len(jobs)]
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		got, err := b.FollowMetrics(ctx, job.id)
		for err != nil && ctx.Err() == nil { // between two connections
			got, err = b.FollowMetrics(ctx, job.id)
		}
		job.Lock()
		publishSteps(t, writer, job.id, 1, job.steps, job.steps+each)
		job.steps += each
		last := job.steps
		job.Unlock()
		if began.Add(1)%cutAfter == 0 {
			p.cut()
		}
		for step := range last {
			if e := <-got; e.Metrics.Step != step || e.Metrics.JobID != job.id {
				t.Errorf("step %d of job %s came, not %d of %s", e.Metrics.Step, e.Metrics.JobID, step, job.id)
				return
			}
		}
	}
	var all sync.WaitGroup
	for n := range followers {
		all.Go(func() {
			for i := range times {
				follow(n + i)
			}
		})
	}
	all.Wait()
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
