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

// offered measures submissions and steps that come at the rates of the goals, the status of a
// job and the read model's lag meanwhile. A submission counts from when it was due, so that
// one which waits for a client counts that too.
func offered(ctx context.Context, w *world, o options) ([]row, error) {
	seconds := max(0.2, 10*o.scale)
	if _, err := w.offer(ctx, min(1, seconds)); err != nil {
		return nil, err
	}
	return w.offer(ctx, seconds)
}

// offer offers so many seconds of both.
func (w *world) offer(ctx context.Context, seconds float64) ([]row, error) {
	s, err := w.submitter(ctx)
	if err != nil {
		return nil, err
	}
	n := int(seconds * offeredJobs)
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
			at := begin.Add(time.Duration(i) * time.Second / offeredJobs)
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
	with := fmt.Sprintf("%d submissions/s and %d steps/s offered: ", offeredJobs, offeredSteps)
	return []row{
		{with + "submissions", n, rate(n, all) + ", " + quantiles(each.all), "1,000/s"},
		{with + "status", len(status), looks(status), "p99 5 ms"},
		{with + "an answer that asks nobody (GET /livez)", len(life), looks(life), ""},
		{with + "the process", 1, costs, ""},
		{with + "read model's lag", len(behind), quantiles(behind), "p99 100 ms"},
	}, nil
}

// steady publishes steps of a job at the offered rate for a while, and returns how far the
// read model was behind each time.
func (w *world) steady(ctx context.Context, d time.Duration) (behind []time.Duration, err error) {
	const tick = 20 * time.Millisecond
	const each = int(offeredSteps * tick / time.Second) // steps a tick
	job := scu.NewJobID()
	clock := time.NewTicker(tick)
	defer clock.Stop()
	begin := time.Now()
	for at := 0; time.Since(begin) < d; at += each {
		if err := publish(ctx, w, job, at+1, at+each); err != nil {
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
