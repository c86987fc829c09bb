package broker

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

func TestPriorityOrder(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	r := rand.New(rand.NewPCG(1, 2))
	type submitted struct {
		id       string
		priority int
	}
	var want []submitted
	for range 200 {
		p := r.IntN(scu.MaxPriority-scu.MinPriority+1) + scu.MinPriority
		want = append(want, submitted{submit(t, b, p), p})
	}
	queued(t, b) // the queue has them all
	slices.SortStableFunc(want, func(a, b submitted) int { return b.priority - a.priority })
	q := openQueue(t, b, "t1")
	for i, w := range want {
		c := next(t, q)
		if c.id != w.id || c.job.Priority != w.priority || c.deliveries != 1 {
			t.Fatalf("job %d is of priority %d, delivery %d; want priority %d", i, c.job.Priority, c.deliveries, w.priority)
		}
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClassesInOrder(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	for _, class := range []string{"cpu", "gpu8", "gpu24", "gpu80"} {
		e := newJob(0)
		e.Job.Class = class
		if _, err := b.Submit(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	queued(t, b)
	q := openQueue(t, b, "t1", "gpu24", "gpu8", "cpu")
	for _, want := range []string{"gpu24", "gpu8", "cpu"} {
		if c := next(t, q); c.job.Class != want {
			t.Fatalf("got class %s, want %s", c.job.Class, want)
		}
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if c, err := q.Next(short); err == nil {
		t.Fatalf("got a job of class %s, which the trainer can't run", c.Job().Class)
	}
}

// waitIdle returns when q waits at the doorbell.
func waitIdle(t testing.TB, q *queue) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		q.bell.mu.Lock()
		idle := q.bell.rung != nil
		q.bell.mu.Unlock()
		if idle && !q.pulls.waiting() {
			return
		}
	}
	t.Fatal("the trainer does not become idle")
}

// claims runs Next until ctx ends and sends what it gets.
func claims(ctx context.Context, q *queue, out chan<- *claim) {
	for {
		c, err := q.Next(ctx)
		if err != nil {
			return
		}
		select {
		case out <- c.(*claim):
		case <-ctx.Done():
			return
		}
	}
}

// noRescan leaves waking to the doorbell.
var noRescan = Options{AckWait: 10 * time.Second, Rescan: time.Hour}

// bellsOnly connects to a server of the test's own, with noRescan.
func bellsOnly(t *testing.T) *Broker {
	t.Helper()
	o := noRescan
	o.Server = startServer(t, t.TempDir(), "")
	setUp(t, o.Server)
	return connect(t, o)
}

// idleTrainer waits for jobs until the test ends, and sends those that it gets.
func idleTrainer(t *testing.T, b *Broker, name string) (*queue, <-chan *claim) {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	t.Cleanup(cancel)
	q, got := openQueue(t, b, name), make(chan *claim)
	go claims(ctx, q, got)
	return q, got
}

func TestBellWakesIdleTrainer(t *testing.T) {
	t.Parallel()
	b := bellsOnly(t)
	q, got := idleTrainer(t, b, "t1")
	for _, priority := range []int{0, 0, 100, -100, 42} { // levels that did not exist when the trainer came
		waitIdle(t, q)
		id := submit(t, b, priority)
		c := <-got
		if c.id != id {
			t.Fatalf("got job %s, want %s", c.id, id)
		}
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

// The server may ring before the level knows of the job, and a job may come while
// the trainer is on its way to the doorbell.
func TestNoWakeUpIsLost(t *testing.T) {
	t.Parallel()
	b := bellsOnly(t)
	q, got := idleTrainer(t, b, "t1")
	for i := range 400 {
		if i%2 == 0 {
			waitIdle(t, q)
		}
		submit(t, b, i%3)
		select {
		case c := <-got:
			if err := c.Ack(); err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatalf("job %d wakes nobody", i)
		}
	}
}

// No bell may be lost between trainers that become idle and busy all the time,
// and no job is handed out twice.
func TestManyTrainersNoRescan(t *testing.T) {
	t.Parallel()
	const trainers, jobs = 8, 400
	s := startServer(t, t.TempDir(), "")
	setUp(t, s)
	o := noRescan
	o.Server = s
	api := connect(t, o)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	got := make(chan *claim)
	var all sync.WaitGroup
	for i := range trainers {
		b := api
		if i%2 == 0 { // some on a connection of their own
			b = connect(t, o)
		}
		q := openQueue(t, b, string(rune('a'+i)))
		all.Go(func() { claims(ctx, q, got) })
	}
	go func() {
		for i := range jobs {
			if _, err := api.Submit(ctx, newJob(i%7-3)); err != nil {
				t.Error(err)
			}
		}
	}()
	seen := map[string]string{}
	for range jobs {
		select {
		case c := <-got:
			if who, ok := seen[c.id]; ok {
				t.Fatalf("job %s went to %s and to %s", c.id, who, c.q.trainer)
			}
			seen[c.id] = c.q.trainer
			if err := c.Ack(); err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatalf("%d of %d jobs came, then nobody woke", len(seen), jobs)
		}
	}
	cancel()
	all.Wait()
}

func TestDeadTrainersJobComesAgain(t *testing.T) {
	t.Parallel()
	b := newQuickBroker(t)
	id := submit(t, b, 0)
	dead, alive := openQueue(t, b, "dead"), openQueue(t, b, "alive")
	first := next(t, dead)
	old := start(t, b, id, "dead")
	second := next(t, alive)
	if second.id != id || second.deliveries != 2 || second.job.Status != scu.Running {
		t.Fatalf("job %s in delivery %d is %s", second.id, second.deliveries, second.job.Status)
	}
	current := start(t, b, id, "alive")
	wantCode(t, complete(b, id, "dead", old), scu.CodeConflict)
	held, release := first.Hold(testContext(t), old)
	defer release()
	<-held.Done()
	wantCode(t, context.Cause(held), scu.CodeConflict)
	if err := complete(b, id, "alive", current); err != nil {
		t.Fatal(err)
	}
	if err := second.Ack(); err != nil {
		t.Fatal(err)
	}
	if n := queued(t, b); n != 0 {
		t.Fatalf("%d jobs left in the queue", n)
	}
}

func TestHoldKeepsTheClaim(t *testing.T) {
	t.Parallel()
	b, ctx := newQuickBroker(t), testContext(t)
	id := submit(t, b, 0)
	q := openQueue(t, b, "t1")
	held, release := next(t, q).Hold(ctx, start(t, b, id, "t1"))
	defer release()
	short, cancel := context.WithTimeout(ctx, 3*quick.AckWait)
	defer cancel()
	if c, err := openQueue(t, b, "t2").Next(short); err == nil {
		t.Fatalf("job %s was handed out again", c.Job().ID)
	}
	if held.Err() != nil {
		t.Fatal(context.Cause(held))
	}
	release()
	if <-held.Done(); context.Cause(held) != context.Canceled {
		t.Fatal(context.Cause(held))
	}
}

func TestHandBackIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	b, ctx := bellsOnly(t), testContext(t)
	id := submit(t, b, 5)
	c := next(t, openQueue(t, b, "leaving"))
	attempt := start(t, b, id, "leaving")
	other, got := idleTrainer(t, b, "other")
	waitIdle(t, other)
	if _, _, err := b.Append(ctx, id, "leaving", func(j scu.Job) (scu.Event, error) { return j.HandBack(attempt, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Nak(0); err != nil {
		t.Fatal(err)
	}
	again := <-got
	if again.id != id || again.deliveries != 2 || again.job.Status != scu.Queued {
		t.Fatalf("%s job %s, delivery %d", again.job.Status, again.id, again.deliveries)
	}
}

func TestNakWithDelay(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	id := submit(t, b, 0)
	q := openQueue(t, b, "t1")
	begin := time.Now()
	if err := next(t, q).Nak(300 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	c := next(t, q)
	if waited := time.Since(begin); c.id != id || waited < 300*time.Millisecond {
		t.Fatalf("job %s came again after %v", c.id, waited)
	}
}

func TestCancelWhileQueued(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id, other := submit(t, b, 10), submit(t, b, 0)
	if _, _, err := b.Cancel(ctx, id); err != nil {
		t.Fatal(err)
	}
	if c := next(t, openQueue(t, b, "t1")); c.id != other {
		t.Fatalf("got the cancelled job, or %s", c.id)
	}
}

// A job that is cancelled before the queue has taken it in is dropped by who gets
// it.
func TestCancelBeforeQueued(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	var last string
	for range 50 {
		last = submit(t, b, 10)
		if _, _, err := b.Cancel(ctx, last); err != nil {
			t.Fatal(err)
		}
	}
	other := submit(t, b, 0)
	if c := next(t, openQueue(t, b, "t1")); c.id != other {
		t.Fatalf("got %s, a cancelled job", c.id)
	}
	if n := queued(t, b); n != 1 {
		t.Fatalf("%d jobs in the queue, want the one that runs", n)
	}
}

func TestCancelWhileRunning(t *testing.T) {
	t.Parallel()
	o := noRescan
	o.AckWait = 10 * time.Minute // Hold looks by itself after a tenth
	o.Server = startServer(t, t.TempDir(), "")
	setUp(t, o.Server)
	b, ctx := connect(t, o), testContext(t)
	id := submit(t, b, 0)
	c := next(t, openQueue(t, b, "t1"))
	held, release := c.Hold(ctx, start(t, b, id, "t1"))
	defer release()
	begin := time.Now()
	if _, _, err := b.Cancel(ctx, id); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
	wantCode(t, context.Cause(held), scu.CodeCancelled)
	if d := time.Since(begin); d > o.AckWait/20 {
		t.Fatalf("seen after %v", d)
	}
	if n := queued(t, b); n != 0 {
		t.Fatalf("%d jobs left in the queue", n)
	}
}

// Hold sees a cancel in the log when the message to the trainer is lost.
func TestCancelSeenInTheLog(t *testing.T) {
	t.Parallel()
	b, ctx := newQuickBroker(t), testContext(t)
	id := submit(t, b, 0)
	c := next(t, openQueue(t, b, "t1"))
	held, release := c.Hold(ctx, start(t, b, id, "t1"))
	defer release()
	if _, _, err := b.Append(ctx, id, "api", func(j scu.Job) (scu.Event, error) { return j.Cancel(time.Now()) }); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
	wantCode(t, context.Cause(held), scu.CodeCancelled)
}

func TestCancelIsTold(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	c, err := b.listenForCancels("t1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	told := c.watch(id)
	start(t, b, id, "t1")
	if _, _, err := b.Cancel(ctx, id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-ctx.Done():
		t.Fatal("the trainer is not told")
	}
}

func TestJobThatKillsItsTrainersFails(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	setUp(t, s)
	b := connect(t, Options{Server: s, MaxTries: 3})
	ctx := testContext(t)
	id := submit(t, b, 10)
	q := openQueue(t, b, "t1")
	for range 2 { // hand-backs don't count
		c := next(t, q)
		attempt := start(t, b, id, "t1")
		if _, _, err := b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) { return j.HandBack(attempt, time.Now()) }); err != nil {
			t.Fatal(err)
		}
		if err := c.Nak(0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		c := next(t, q)
		if c.id != id {
			t.Fatalf("try %d: job %s", i, c.id)
		}
		start(t, b, id, "t1")
		if err := c.Nak(0); err != nil { // as if it had died
			t.Fatal(err)
		}
	}
	if job := givenUp(t, b, q, id); job.Error == nil || job.Error.Hint == "" {
		t.Fatalf("%+v", job)
	}
	if sane := submit(t, b, 0); next(t, q).id != sane {
		t.Fatal("the job is still in the queue")
	}
}

// A Next that is given up returns what reaches it too late.
func TestAbandonedNextLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	q1, q2 := openQueue(t, b, "t1"), openQueue(t, b, "t2")
	for range 50 {
		ctx, cancel := context.WithCancel(testContext(t))
		var race sync.WaitGroup
		var c scu.Claim
		race.Go(func() { c, _ = q1.Next(ctx) })
		race.Go(func() { submit(t, b, 0) })
		race.Go(cancel)
		race.Wait()
		if c == nil {
			c = next(t, q2)
		}
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if n := queued(t, b); n != 0 {
		t.Fatalf("%d jobs left", n)
	}
}

func TestRefusedQueues(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	for _, c := range []struct {
		trainer string
		classes []string
	}{{"a.b", []string{"cpu"}}, {"api", []string{"cpu"}}, {"t1", []string{"*"}}, {"t1", nil}} {
		_, err := b.Queue(ctx, c.trainer, c.classes)
		wantCode(t, err, scu.CodeInvalid)
	}
}

// After the queue was deleted, what is not ended comes back from the log.
func TestQueueDerivedAnew(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	ended, live := submit(t, b, 50), submit(t, b, 0)
	if _, _, err := b.Cancel(ctx, ended); err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(ctx, jobsStream); err != nil {
		t.Fatal(err)
	}
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	go b.Supervise(watch, 20*time.Millisecond)
	if c := next(t, openQueue(t, b, "t1")); c.id != live {
		t.Fatalf("got job %s, want %s", c.id, live)
	}
}

// A cancel takes its own job out of the queue, and nothing from what is known of
// older jobs that are being run: one whose trainer dies later comes back.
func TestCancelLeavesOlderClaimsAlone(t *testing.T) {
	t.Parallel()
	b, ctx := newQuickBroker(t), testContext(t)
	old, cancelled, later := submit(t, b, 0), submit(t, b, 0), submit(t, b, 0)
	queued(t, b)
	dies, lives := openQueue(t, b, "t1"), openQueue(t, b, "t2")
	first, second := next(t, dies), next(t, lives)
	if first.id != old || second.id != cancelled {
		t.Fatalf("got %s and %s", first.id, second.id)
	}
	start(t, b, old, "t1")
	start(t, b, cancelled, "t2")
	if _, _, err := b.Cancel(ctx, cancelled); err != nil {
		t.Fatal(err)
	}
	if err := second.Ack(); err != nil {
		t.Fatal(err)
	}
	came := map[string]bool{}
	for range 2 { // the dead trainer's job is first if its claim has ended by now
		c := next(t, lives)
		came[c.id] = true
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if !came[later] || !came[old] {
		t.Fatalf("%v are handed out, not %s and the dead trainer's %s", came, later, old)
	}
}

// A job that the server forgot, as it does at such a purge, comes back by itself.
func TestForgottenJobIsHandedOutAgain(t *testing.T) {
	t.Parallel()
	b, ctx := newQuickBroker(t), testContext(t)
	old, purged, later := submit(t, b, 0), submit(t, b, 0), submit(t, b, 0)
	queued(t, b)
	q := openQueue(t, b, "t1")
	for _, want := range []string{old, purged} {
		if c := next(t, q); c.id != want {
			t.Fatalf("got %s, want %s", c.id, want)
		}
	}
	s, err := b.js.Stream(ctx, jobsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(level{class: "cpu"}.job(purged))); err != nil {
		t.Fatal(err)
	}
	c := next(t, q)
	for c.id == old { // a busy machine purged after its claim had ended
		c = next(t, q)
	}
	if c.id != later {
		t.Fatalf("got %s, want %s", c.id, later)
	}
	if err := c.Ack(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{purged, later} { // nobody is to queue them again
		if _, _, err := b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Cancel(time.Now()) }); err != nil {
			t.Fatal(err)
		}
	}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	go b.Supervise(watch, 20*time.Millisecond)
	if c := next(t, q); c.id != old {
		t.Fatalf("got %s, want %s", c.id, old)
	}
}
