package broker

import (
	"context"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// givenUp waits until a queue gives a job up, and returns it as it is then.
func givenUp(t *testing.T, b *Broker, q *queue, id string) scu.Job {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	taken := make(chan scu.Claim, 1)
	go func() {
		if c, err := q.Next(ctx); err == nil {
			taken <- c
		}
	}()
	entries, err := b.FollowJob(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case c := <-taken:
			t.Fatalf("job %s was handed out", c.Job().ID)
		case e, ok := <-entries:
			if !ok {
				t.Fatal("it isn't given up")
			}
			if e.Event.Job.Status == scu.Failed {
				return e.Event.Job
			}
		}
	}
}

// Only attempts that were begun and took the job no further count towards giving up.
func TestWhatCountsAsATry(t *testing.T) {
	t.Parallel()
	nothing := func(scu.Job, int) (scu.Event, error) { return scu.Event{}, nil }
	train := func(per int) func(scu.Job, int) (scu.Event, error) {
		return func(j scu.Job, i int) (scu.Event, error) { return j.Train(j.Attempt, per*i, 1000, nil, time.Now()) }
	}
	for _, c := range []struct {
		name    string
		started bool // an attempt is begun before its trainer dies
		word    func(j scu.Job, i int) (scu.Event, error)
		lasts   int // claims before the job fails; 0: it never does
	}{
		{"attempts that die at once", true, nothing, 3},
		{"attempts from the same checkpoint", true, train(0), 3},
		{"attempts from ever further checkpoints", true, train(10), 0},
		{"attempts that store ever further adapters", true, func(j scu.Job, i int) (scu.Event, error) {
			return j.Store(j.Attempt, scu.Checkpoint{Step: i + 1}, 1, time.Now())
		}, 0},
		{"trainers that stop", true, func(j scu.Job, _ int) (scu.Event, error) { return j.HandBack(j.Attempt, time.Now()) }, 0},
		{"starts that are refused", false, nothing, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, t.TempDir(), "")
			setUp(t, s)
			b := connect(t, Options{Server: s, MaxTries: 3})
			ctx := testContext(t)
			id := submit(t, b, 10)
			q := openQueue(t, b, "t1")
			const enough = 8
			claims := c.lasts
			if claims == 0 {
				claims = enough
			}
			for i := range claims {
				claim := next(t, q)
				if claim.id != id {
					t.Fatalf("claim %d is of job %s", i, claim.id)
				}
				if c.started {
					start(t, b, id, "t1")
					job, _, err := b.Job(ctx, id)
					if err != nil {
						t.Fatal(err)
					}
					if e, err := c.word(job, i); err != nil {
						t.Fatal(err)
					} else if e.Type != "" {
						if _, _, err := b.Append(ctx, id, "t1", func(scu.Job) (scu.Event, error) { return e, nil }); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := claim.Nak(0); err != nil { // as if it had died
					t.Fatal(err)
				}
			}
			if c.lasts > 0 {
				given := givenUp(t, b, q, id)
				if given.Error == nil || given.Error.Hint == "" {
					t.Fatalf("it failed with %+v", given.Error)
				}
				return
			}
			if got := next(t, q); got.id != id {
				t.Fatalf("after %d claims comes job %s, not %s", claims, got.id, id)
			}
		})
	}
}
