//go:build unix

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
)

// What the goals name: so many submissions and so many steps a second.
const (
	offeredJobs  = 1000
	offeredSteps = 5000
)

// Steps come in bursts, as those of many trainers do.
const (
	stepsTick  = 20 * time.Millisecond
	stepsATick = int(offeredSteps * stepsTick / time.Second)
)

// offered measures the status of a job and the read model's lag while steps come at the rate of
// the goals, and while submissions come at theirs too.
func offered(ctx context.Context, w *world, o options) (rows []row, err error) {
	seconds := max(0.2, 10*o.scale)
	if _, err := w.offer(ctx, min(1, seconds), offeredJobs); err != nil {
		return nil, err
	}
	for _, jobs := range []int{0, offeredJobs} {
		more, err := w.offer(ctx, seconds, jobs)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// offer offers so many seconds of steps, and of so many submissions a second. A submission counts
// from when it was due, so that one which waits for a client counts that too.
func (w *world) offer(ctx context.Context, seconds float64, jobs int) (rows []row, err error) {
	s, err := w.submitter(ctx)
	if err != nil {
		return nil, err
	}
	n := int(seconds * float64(jobs))
	due := make(chan time.Time, n)
	var each times
	g, inner := errgroup.WithContext(ctx)
	stop := w.watchStatus(inner, s.Client, s.first)
	stopLife := w.watchLife(inner)
	process := watchProcess()
	begin := time.Now()
	g.Go(func() error {
		defer close(due)
		for i := range n {
			at := begin.Add(time.Duration(i) * time.Second / time.Duration(jobs))
			if err := scu.Sleep(inner, time.Until(at)); err != nil {
				return err
			}
			due <- at
		}
		return nil
	})
	for range clients {
		g.Go(func() error {
			for at := range due {
				if _, err := s.Submit(inner, s.request); err != nil {
					return err
				}
				each.add(time.Since(at))
			}
			return nil
		})
	}
	var behind []time.Duration
	g.Go(func() (err error) {
		behind, err = w.steady(inner, time.Duration(seconds*float64(time.Second)))
		return err
	})
	err = g.Wait()
	all, costs := time.Since(begin), process()
	status, err := stop(err)
	life, err := stopLife(err)
	if err != nil {
		return nil, err
	}
	with := fmt.Sprintf("%d steps/s offered: ", offeredSteps)
	if jobs > 0 {
		with = fmt.Sprintf("%d submissions/s and ", jobs) + with
		rows = append(rows, row{with + "submissions", n, rate(n, all) + ", " + quantiles(each.all), "1,000/s"})
	}
	return append(rows,
		row{with + "status", len(status), looks(status), "p99 5 ms"},
		row{with + "an answer that asks nobody (GET /livez)", len(life), looks(life), ""},
		row{with + "the process", 1, costs, ""},
		row{with + "read model's lag", len(behind), quantiles(behind), "p99 100 ms"},
	), nil
}

// steady publishes steps of a job at the offered rate for a while, and returns how far the
// read model was behind each time.
func (w *world) steady(ctx context.Context, d time.Duration) (behind []time.Duration, err error) {
	job := scu.NewJobID()
	clock := time.NewTicker(stepsTick)
	defer clock.Stop()
	begin := time.Now()
	for at := 0; time.Since(begin) < d; at += stepsATick {
		if err := publish(ctx, w, job, at+1, at+stepsATick); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := w.catchUp(ctx); err != nil {
			return nil, err
		}
		behind = append(behind, time.Since(start))
		select {
		case <-clock.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return behind, nil
}
