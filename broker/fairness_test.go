package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// submitOf submits a job of an owner and returns its id.
func submitOf(t testing.TB, b *Broker, owner string, priority int) string {
	t.Helper()
	e := newJob(priority)
	e.Job.Owner = owner
	if _, err := b.Submit(testContext(t), e); err != nil {
		t.Fatal(err)
	}
	return e.Job.ID
}

// One owner's 2,000 jobs don't keep another's one waiting, whoever served whom before.
func TestManyJobsOfOneOwnerDontStarveAnother(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	var all []scu.Event
	for range 2000 {
		e := newJob(0)
		e.Job.Owner = "ada"
		all = append(all, e)
	}
	for len(all) > 0 {
		if err := b.SubmitAll(testContext(t), all[:scu.MaxBatch]); err != nil {
			t.Fatal(err)
		}
		all = all[scu.MaxBatch:]
	}
	queued(t, b)
	var trainers []*queue
	for i := range 3 {
		q := openQueue(t, b, fmt.Sprint("t", i))
		trainers = append(trainers, q)
		for range 5 {
			if err := next(t, q).Ack(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for round := range 4 { // a trainer that never served bob, then ones that did
		id := submitOf(t, b, "bob", -100)
		queued(t, b)
		q, came := trainers[round%2], 0
		for c := next(t, q); c.id != id; c = next(t, q) {
			if came++; came > 1 {
				t.Fatalf("round %d: %d jobs of the other owner were started before", round, came)
			}
			if err := c.Ack(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Owners with jobs take turns, jobs without an owner among them, and each one's
// priorities order its own jobs.
func TestOwnersTakeTurns(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	var want [3][]string
	owners := []string{"", "ada", "bob"}
	for i, owner := range owners {
		low, high, last := submitOf(t, b, owner, 0), submitOf(t, b, owner, 10*i), submitOf(t, b, owner, -1)
		want[i] = []string{high, low, last}
		if i == 0 {
			want[i] = []string{low, high, last}
		}
	}
	queued(t, b)
	q := openQueue(t, b, "t1")
	for round := range 3 {
		came := map[string]bool{}
		for range owners {
			c := next(t, q)
			came[c.id] = true
			if err := c.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		for i, owner := range owners {
			if !came[want[i][round]] {
				t.Errorf("round %d: the job of %q doesn't come", round, owner)
			}
		}
	}
}

// A job of the lowest priority starts while ever new ones of the highest come.
func TestLowPriorityStarts(t *testing.T) {
	t.Parallel()
	const ageing = 2 * time.Millisecond
	const due = (scu.MaxPriority - scu.MinPriority) * ageing
	s := startServer(t, t.TempDir(), "")
	setUp(t, s)
	b := connect(t, Options{Server: s, Ageing: ageing})
	low := submit(t, b, scu.MinPriority)
	began := time.Now()
	submit(t, b, scu.MaxPriority)
	queued(t, b)
	q := openQueue(t, b, "t1")
	for overtaken := 0; ; overtaken++ {
		c := next(t, q)
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
		if c.id == low {
			if waited := time.Since(began); waited < due {
				t.Fatalf("it started after %v and %d others, before its time", waited, overtaken)
			}
			return
		}
		submit(t, b, scu.MaxPriority)
		queued(t, b)
	}
}

// What comes back is first at its level of its owner.
func TestInterruptedJobOfAnOwnerComesFirst(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	b.opts.nakPause = time.Second // NATS tells nobody that the job is due; a busy machine runs its timer late
	first := submitOf(t, b, "ada", 0)
	submitOf(t, b, "ada", 0)
	queued(t, b)
	q := openQueue(t, b, "t1")
	c := next(t, q)
	if c.id != first {
		t.Fatal(c.id)
	}
	urgent := submitOf(t, b, "ada", 5)
	queued(t, b)
	if err := c.Nak(0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{urgent, first} {
		if c := next(t, q); c.id != want {
			t.Fatalf("got %s; want of urgent %s, interrupted %s", c.id, urgent, first)
		}
	}
}

// However many trainers ask at once, no more jobs of an owner run than may; others' do,
// and all are run in the end.
func TestRunningJobsOfAnOwnerAreLimited(t *testing.T) {
	t.Parallel()
	const most, jobs, trainers = 2, 24, 6
	s := startServer(t, t.TempDir(), "")
	setUp(t, s)
	o := noRescan // what waits for a slot is woken
	o.Server = s
	b := connect(t, o)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	if err := b.LimitRunning(ctx, map[string]int{scu.EachOwner: 1, "ada": most}); err != nil {
		t.Fatal(err)
	}
	got := make(chan *claim)
	var all sync.WaitGroup
	for i := range trainers {
		q := openQueue(t, b, fmt.Sprint("t", i))
		all.Go(func() { claims(ctx, q, got) })
	}
	for i := range jobs {
		submitOf(t, b, "ada", i%3)
	}
	var held []*claim
	finish := func() {
		c := held[0]
		held = held[1:]
		if err := c.Ack(); err != nil {
			t.Error(err)
		}
	}
	take := func() *claim {
		select {
		case c := <-got:
			return c
		case <-time.After(patience):
			t.Fatal("a job waits for a slot that is free")
			return nil
		}
	}
	for range jobs {
		held = append(held, take())
		if len(held) < most {
			continue
		}
		select {
		case c := <-got:
			t.Fatalf("%s runs beside %d others", c.id, most)
		case <-time.After(5 * time.Millisecond):
		}
		finish()
	}
	finish()
	for range 3 { // of another owner, who has the limit of all
		submitOf(t, b, "bob", 0)
	}
	for range 3 {
		c := take()
		if err := c.Ack(); err != nil || c.job.Owner != "bob" {
			t.Fatal(c.job.Owner, err)
		}
	}
	cancel()
	all.Wait()
}

// A trainer that dies frees the slot of its job, which goes on.
func TestDeadTrainerFreesTheSlot(t *testing.T) {
	t.Parallel()
	b, ctx := newQuickBroker(t), testContext(t)
	if err := b.LimitRunning(ctx, map[string]int{"ada": 1}); err != nil {
		t.Fatal(err)
	}
	id := submitOf(t, b, "ada", 0)
	later := submitOf(t, b, "ada", 0)
	queued(t, b)
	dead, alive := openQueue(t, b, "dead"), openQueue(t, b, "alive")
	if c := next(t, dead); c.id != id {
		t.Fatal(c.id)
	}
	for _, want := range []string{id, later} {
		c := next(t, alive)
		if c.id != want {
			t.Fatalf("got %s, want %s", c.id, want)
		}
		held, release := c.Hold(ctx, start(t, b, c.id, "alive"))
		if want == id { // its slot lasts as long as it runs
			short, stop := context.WithTimeout(ctx, 3*quick.AckWait)
			if c, err := dead.Next(short); err == nil {
				t.Fatalf("job %s runs beside", c.Job().ID)
			}
			stop()
		}
		if held.Err() != nil {
			t.Fatal(context.Cause(held))
		}
		release()
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

// What a version without lanes queued is handed out, and its owner is in the same turn as
// jobs that have none.
func TestQueueOfTheVersionBeforeDrains(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	e := newJob(0)
	e.Job.Owner = "ada"
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	old := level{class: "cpu"}
	if err := b.ensureLevel(ctx, old); err != nil {
		t.Fatal(err)
	}
	if _, err := b.publish(ctx, &nats.Msg{Subject: submitSubject(e.Job.ID, old), Data: data}); err != nil {
		t.Fatal(err)
	}
	queued(t, b)
	if c := next(t, openQueue(t, b, "t1")); c.id != e.Job.ID {
		t.Fatal(c.id)
	}
	r := &reconciler{b: b}
	for range 3 { // it is where it was queued, not where this version would
		if err := r.pass(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s, err := b.stream(ctx, jobsStream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetLastMsgForSubject(ctx, levelOf(e.Job).job(e.Job.ID)); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Fatalf("it is queued twice: %v", err)
	}
}

// The level of an owner who has gone is removed, and made again when a job comes.
func TestLevelsOfOwnersWhoLeft(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	setUp(t, s)
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	b := connect(t, Options{Server: s, Now: clock})
	ctx := testContext(t)
	names := func() (n int) {
		js, err := b.js.Stream(ctx, jobsStream)
		if err != nil {
			t.Fatal(err)
		}
		for name := range js.ConsumerNames(ctx).Name() {
			if strings.HasPrefix(name, "cpu-") {
				n++
			}
		}
		return n
	}
	idle := map[string]idleLane{}
	pass := func(later time.Duration) {
		t.Helper()
		mu.Lock()
		now = now.Add(later)
		mu.Unlock()
		if err := b.mendLevels(ctx, idle); err != nil {
			t.Fatal(err)
		}
	}
	submit(t, b, 0)
	submitOf(t, b, "ada", 0)
	queued(t, b)
	q := openQueue(t, b, "t1")
	for range 2 {
		if err := next(t, q).Ack(); err != nil {
			t.Fatal(err)
		}
	}
	pass(0)
	pass(laneIdle - time.Minute)
	if n := names(); n != 2 {
		t.Fatalf("%d levels", n)
	}
	pass(2 * time.Minute)
	if n := names(); n != 1 {
		t.Fatalf("%d levels", n)
	}
	if id := submitOf(t, b, "ada", 0); next(t, q).id != id {
		t.Fatal("the owner's next job doesn't come")
	}
}
