package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shannon-control/scu"
)

func TestSubmitThenJob(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	e := newJob(7)
	seq, err := b.Submit(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	got, last, err := b.Job(ctx, e.Job.ID)
	if err != nil || last != seq || got.Name != e.Job.Name || got.Status != scu.Queued || got.Priority != 7 {
		t.Fatalf("got %+v at %d, %v; submitted at %d", got, last, err, seq)
	}
}

func TestSubmitAgain(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	e := newJob(0)
	seq, err := b.Submit(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	start(t, b, e.Job.ID, "t1") // the submission is no longer the last entry
	if again, err := b.Submit(ctx, e); err != nil || again != seq {
		t.Fatalf("the same submission again: %d, %v; want %d", again, err, seq)
	}
	other := newJob(0)
	other.Job.ID, other.Job.Name = e.Job.ID, "somebody else's"
	_, err = b.Submit(ctx, other)
	wantCode(t, err, scu.CodeConflict)
	if n := queued(t, b); n != 1 {
		t.Fatalf("%d jobs in the queue, want 1", n)
	}
}

// queued waits until the queue has taken in the whole log and its levels tell of all
// jobs, and counts them.
func queued(t testing.TB, b *Broker) int {
	t.Helper()
	ctx := testContext(t)
	marker := newJob(-100)
	marker.Job.Class = "marker"
	q := openQueue(t, b, "marker", "marker")
	if _, err := b.Submit(ctx, marker); err != nil {
		t.Fatal(err)
	}
	c := next(t, q)
	s, err := b.stream(ctx, jobsStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	jobs := int(info.State.Msgs) - 1 // beside the queue's head
	for told := 0; told < jobs; {
		all, err := b.standings(ctx)
		if err != nil {
			t.Fatal(err)
		}
		told = 0
		for _, s := range all {
			told += s.waiting + s.claimed
		}
	}
	if err := c.Ack(); err != nil {
		t.Fatal(err)
	}
	return jobs - 1
}

func TestRefusedSubmissions(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	for name, change := range map[string]func(*scu.Event){
		"id with a wildcard": func(e *scu.Event) { e.Job.ID = "*" },
		"id too short":       func(e *scu.Event) { e.Job.ID = "abc" },
		"class with a dot":   func(e *scu.Event) { e.Job.Class = "cpu.>" },
		"no class":           func(e *scu.Event) { e.Job.Class = "" },
		"priority too high":  func(e *scu.Event) { e.Job.Priority = 101 },
		"priority too low":   func(e *scu.Event) { e.Job.Priority = -101 },
	} {
		e := newJob(0)
		change(&e)
		_, err := b.Submit(ctx, e)
		if scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, size := range []int{256 << 10, 1<<20 - 2000, 2 << 20} {
		e := newJob(0)
		e.Job.Name = strings.Repeat("x", size)
		_, err := b.Submit(ctx, e)
		wantCode(t, err, scu.CodeTooLarge)
	}
	if n := queued(t, b); n != 0 {
		t.Fatalf("%d refused jobs in the queue", n)
	}
}

func TestUnknownJob(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	for _, id := range []string{scu.NewJobID(), "", ">", "*", "no such job"} {
		_, _, err := b.Job(ctx, id)
		wantCode(t, err, scu.CodeNotFound)
		_, _, err = b.Cancel(ctx, id)
		wantCode(t, err, scu.CodeNotFound)
	}
}

func TestCancelRacesComplete(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	var cancelled, completed int
	for range 200 {
		id := submit(t, b, 0)
		attempt := start(t, b, id, "t1")
		var cancelErr, completeErr error
		var already bool
		var race sync.WaitGroup
		race.Go(func() { _, already, cancelErr = b.Cancel(ctx, id) })
		race.Go(func() { completeErr = complete(b, id, "t1", attempt) })
		race.Wait()
		job, _, err := b.Job(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case cancelErr == nil && !already && scu.CodeOf(completeErr) == scu.CodeConflict && job.Status == scu.Cancelled:
			cancelled++
		case completeErr == nil && scu.CodeOf(cancelErr) == scu.CodeConflict && job.Status == scu.Completed:
			completed++
		default:
			t.Fatalf("cancel: %v, complete: %v, job %s", cancelErr, completeErr, job.Status)
		}
	}
	t.Logf("%d cancelled, %d completed", cancelled, completed)
}

func TestRivalsAllGetTheirTurn(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	attempt := start(t, b, id, "t1")
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			_, _, err := b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) {
				return j.Enter(attempt, scu.Training, 0, []string{fmt.Sprint("warning ", i)}, time.Now())
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if job, _, err := b.Job(ctx, id); err != nil || len(job.Warnings) != 10 {
		t.Fatalf("warnings %q, %v; want all 10", job.Warnings, err)
	}
}

func TestStaleAttemptIsRefused(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	id := submit(t, b, 0)
	old := start(t, b, id, "t1")
	current := start(t, b, id, "t2")
	wantCode(t, complete(b, id, "t1", old), scu.CodeConflict)
	if err := complete(b, id, "t2", current); err != nil {
		t.Fatal(err)
	}
}

func TestCancelTwiceAndAfterTheEnd(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	if job, already, err := b.Cancel(ctx, id); err != nil || already || job.Status != scu.Cancelled {
		t.Fatal(job.Status, already, err)
	}
	if job, already, err := b.Cancel(ctx, id); err != nil || !already || job.Status != scu.Cancelled {
		t.Fatal(job.Status, already, err)
	}
	done := submit(t, b, 0)
	if err := complete(b, done, "t1", start(t, b, done, "t1")); err != nil {
		t.Fatal(err)
	}
	job, _, err := b.Cancel(ctx, done)
	wantCode(t, err, scu.CodeConflict)
	if job.Status != scu.Completed {
		t.Fatalf("the conflict comes with a %s job", job.Status)
	}
}

// Rivals that do anything to one job at once, over the real log: it is a path through
// the state machine, and what Append returned as done is in it, once.
func TestRandomRivals(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	wishes := map[string]func(j scu.Job, attempt int) (scu.Event, error){
		"start":     func(j scu.Job, _ int) (scu.Event, error) { return j.Start("t1", time.Now()) },
		"enter":     func(j scu.Job, a int) (scu.Event, error) { return j.Enter(a, scu.Training, 0, nil, time.Now()) },
		"hand back": func(j scu.Job, a int) (scu.Event, error) { return j.HandBack(a, time.Now()) },
		"complete":  func(j scu.Job, a int) (scu.Event, error) { return j.Complete(a, scu.Adapter{JobID: j.ID}, time.Now()) },
		"fail": func(j scu.Job, a int) (scu.Event, error) {
			return j.Fail(a, scu.Errorf(scu.CodeInternal, "broke"), time.Now())
		},
		"cancel": func(j scu.Job, _ int) (scu.Event, error) { return j.Cancel(time.Now()) },
	}
	names := slices.Sorted(maps.Keys(wishes))
	plans := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom(names), 1, 8), 2, 4)
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		id := submit(t, b, 0)
		var mu sync.Mutex
		done := map[uint64]scu.EventType{}
		var rivals sync.WaitGroup
		for i, plan := range plans.Draw(rt, "plans") {
			rivals.Go(func() {
				who, attempt := fmt.Sprintf("t%d", i), 0
				for _, wish := range plan {
					var made scu.Event
					j, seq, err := b.Append(ctx, id, who, func(j scu.Job) (e scu.Event, err error) {
						made, err = wishes[wish](j, attempt)
						return made, err
					})
					if err != nil {
						if scu.CodeOf(err) != scu.CodeConflict {
							rt.Error(err)
						}
						continue
					}
					if wish == "start" {
						attempt = j.Attempt
					}
					mu.Lock()
					done[seq] = made.Type
					mu.Unlock()
				}
			})
		}
		rivals.Wait()
		_, last, err := b.Job(ctx, id)
		if err != nil {
			rt.Fatal(err)
		}
		entries, err := b.FollowJob(ctx, id, 0)
		if err != nil {
			rt.Fatal(err)
		}
		var before scu.Job
		for seq := uint64(0); seq < last; {
			e := <-entries
			if err := e.Event.Follows(before); err != nil {
				rt.Fatal(err)
			}
			if before.ID != "" && done[e.Seq] != e.Event.Type {
				rt.Fatalf("entry %d is %q, and Append said %q", e.Seq, e.Event.Type, done[e.Seq])
			}
			delete(done, e.Seq)
			before, seq = e.Event.Job, e.Seq
		}
		if len(done) > 0 {
			rt.Fatalf("not in the log: %v", done)
		}
	})
}

func TestTransitionErrorComesThrough(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	no := errors.New("no")
	if job, _, err := b.Append(ctx, id, "t1", func(scu.Job) (scu.Event, error) { return scu.Event{}, no }); err != no || job.ID != id {
		t.Fatalf("job %q, %v", job.ID, err)
	}
	_, _, err := b.Append(ctx, id, "t.1", func(j scu.Job) (scu.Event, error) { return j.Cancel(time.Now()) })
	wantCode(t, err, scu.CodeInvalid)
}

// An entry that was stored while its answer got lost is found again, not appended
// twice and not taken for a rival's.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	setUp(t, s)
	p := newProxy(t, s.URL())
	b := connect(t, Options{URL: p.url(), User: OperatorUser, Password: s.Password(OperatorUser), timeout: 2 * time.Second})
	ctx := testContext(t)
	id := submit(t, b, 0)
	tries := 0
	job, _, err := b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) {
		tries++
		p.setMute()
		time.AfterFunc(2500*time.Millisecond, p.cut)
		return j.Start("t1", time.Now())
	})
	if err != nil || job.Attempt != 1 || tries != 1 {
		t.Fatalf("attempt %d after %d tries, %v", job.Attempt, tries, err)
	}
	if last, _, err := b.Job(ctx, id); err != nil || last.Attempt != 1 {
		t.Fatalf("the log says attempt %d, %v", last.Attempt, err)
	}
}

// setUp makes the streams of a server that listens.
func setUp(t testing.TB, s Server) *Broker {
	t.Helper()
	return setUpClaims(t, s, lasting.AckWait)
}

func setUpClaims(t testing.TB, s Server, claimTime time.Duration) *Broker {
	t.Helper()
	b := connect(t, Options{Server: s, AckWait: claimTime, Rescan: lasting.Rescan})
	if err := b.Setup(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestManySubmissionsAtOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{50, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b, ctx := newBroker(t), testContext(t)
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					if _, err := b.Submit(ctx, newJob(i%5-2)); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			q := openQueue(t, b, "t1")
			seen := map[string]bool{}
			for range n {
				c := next(t, q)
				if seen[c.id] {
					t.Fatalf("job %s came twice", c.id)
				}
				seen[c.id] = true
				if err := c.Ack(); err != nil {
					t.Fatal(err)
				}
			}
			if left := queued(t, b); left != 0 {
				t.Fatalf("%d jobs are left", left)
			}
		})
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	id := submit(t, setUp(t, s), 0)
	b := connect(t, Options{Server: s, timeout: 100 * time.Millisecond})
	s.Close()
	_, _, err := b.Job(context.Background(), id)
	wantCode(t, err, scu.CodeUnavailable)
	_, err = b.Submit(context.Background(), newJob(0))
	wantCode(t, err, scu.CodeUnavailable)
}
