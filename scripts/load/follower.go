//go:build unix

package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// otherJobs is how many jobs make the steps that a client doesn't ask for.
const otherJobs = 100

// follower measures what a client that follows a slow job's events costs beside the steps of other
// jobs: the processor's time of the whole process, without and with it, in turns. The projector
// stands still, since it reads them all.
func follower(ctx context.Context, w *world, o options) ([]row, error) {
	s, err := w.submitter(ctx)
	if err != nil {
		return nil, err
	}
	w.stopProjector()
	defer w.startProjector(ctx)
	var others []string
	for range otherJobs {
		others = append(others, scu.NewJobID())
	}
	const turns = 3
	d := time.Duration(max(0.2, 5*o.scale) * float64(time.Second))
	var without, with time.Duration
	var took times
	next := 1 // step
	for range turns {
		used, err := w.beside(ctx, others, &next, d, func(context.Context) error { return nil })
		if err != nil {
			return nil, err
		}
		without += used
		out, err := s.SubmitBatch(ctx, client.BatchRequest{Jobs: []client.SubmitRequest{s.request}})
		if err != nil {
			return nil, err
		}
		slow := out.Jobs[0].JobID
		used, err = w.beside(ctx, others, &next, d, func(ctx context.Context) error { return w.slow(ctx, slow, &took) })
		if err != nil {
			return nil, err
		}
		with += used
	}
	share := func(used time.Duration) float64 { return 100 * used.Seconds() / (turns * d).Seconds() }
	return []row{{fmt.Sprintf("%d steps/s of %d jobs beside a client that follows another: the process", offeredSteps, otherJobs), turns,
		fmt.Sprintf("%.1f%% of a processor, %.1f%% without the client; a step to it %s", share(with), share(without), quantiles(took.all)), ""}}, nil
}

// beside publishes steps of jobs at the offered rate for a while, with something beside it that
// ends with its context, and returns the processor's time that the process used.
func (w *world) beside(ctx context.Context, jobs []string, next *int, d time.Duration, what func(context.Context) error) (used time.Duration, err error) {
	var g errgroup.Group
	inner, stop := context.WithCancel(ctx)
	g.Go(func() error { return what(inner) })
	defer func() {
		stop()
		if e := g.Wait(); err == nil {
			err = e
		}
	}()
	clock := time.NewTicker(stepsTick)
	defer clock.Stop()
	before := processorTime()
	for begin := time.Now(); time.Since(begin) < d; {
		for range stepsATick {
			m := scu.Metrics{JobID: jobs[*next%len(jobs)], Attempt: 1, Step: *next, Steps: 1 << 30, Loss: 3, CE: 3, Timestamp: time.Now()}
			if err := w.steps.PublishMetrics(ctx, "load", m); err != nil {
				return 0, err
			}
			*next++
		}
		if err := w.steps.FlushMetrics(ctx); err != nil {
			return 0, err
		}
		select {
		case <-clock.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return processorTime() - before, nil
}

// slow lets a client follow a job, and publishes a step of it each 100 ms, until ctx ends.
func (w *world) slow(ctx context.Context, job string, took *times) error {
	c, err := client.New(w.url, "")
	if err != nil {
		return err
	}
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := c.Watch(inner, job, 0, func(e client.Event) error {
			if e.Metrics != nil {
				took.add(time.Since(e.Metrics.Timestamp))
			}
			return nil
		})
		if inner.Err() != nil {
			return nil
		}
		return err
	})
	g.Go(func() error {
		for step := 1; scu.Sleep(inner, 100*time.Millisecond) == nil; step++ {
			m := scu.Metrics{JobID: job, Attempt: 1, Step: step, Steps: 1 << 20, Loss: 3, CE: 3, Timestamp: time.Now()}
			if err := w.steps.PublishMetrics(inner, "load", m); err != nil && inner.Err() == nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// processorTime is what the process has had of all processors.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0 // it has none to fail with
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
