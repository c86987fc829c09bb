//go:build unix

package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// followersOfAPI is how many clients follow events at one API: it bounds the connections of an
// address, which all have here.
const followersOfAPI = 125

// followers measures the time from a step to the clients that follow events: all the same job,
// then each its own. What they take is half theirs: they are in the same process.
func followers(ctx context.Context, w *world, o options) ([]row, error) {
	s, err := w.submitter(ctx)
	if err != nil {
		return nil, err
	}
	jobs := client.BatchRequest{Jobs: slices.Repeat([]client.SubmitRequest{s.request}, min(batchSize, o.followers))}
	var own []string
	for len(own) < o.followers {
		out, err := s.SubmitBatch(ctx, jobs)
		if err != nil {
			return nil, err
		}
		for _, j := range out.Jobs {
			own = append(own, j.JobID)
		}
	}
	own = own[:o.followers]
	one, err := w.follow(ctx, slices.Repeat(own[:1], o.followers), o)
	if err != nil {
		return nil, err
	}
	each, err := w.follow(ctx, own, o)
	if err != nil {
		return nil, err
	}
	return []row{
		{fmt.Sprintf("a step to each of %d clients that follow one job", o.followers), len(one.took), quantiles(one.took) + ", " + one.costs, "p99 100 ms"},
		{fmt.Sprintf("a step to each of %d clients that follow a job each", o.followers), len(each.took), quantiles(each.took) + ", " + each.costs, "p99 100 ms"},
	}, nil
}

// followed is what following took.
type followed struct {
	took  []time.Duration // from a step to a client
	costs string
}

// follow lets a client follow each of the jobs, which may be the same, and publishes a step of
// each job a second.
func (w *world) follow(ctx context.Context, jobs []string, o options) (f followed, err error) {
	before, filesBefore := liveBytes(), openFiles()
	ctx, stop := context.WithCancel(ctx)
	var g errgroup.Group
	defer func() {
		stop()
		if e := g.Wait(); err == nil {
			err = e
		}
	}()
	var took times
	var there atomic.Int64
	all := make(chan struct{})
	begin := time.Now()
	for part := range slices.Chunk(jobs, followersOfAPI) {
		address, err := w.serve(ctx, 0)
		if err != nil {
			return f, err
		}
		for _, id := range part {
			c, err := client.New(address, "")
			if err != nil {
				return f, err
			}
			g.Go(func() error {
				err := c.Watch(ctx, id, 0, func(e client.Event) error {
					switch {
					case e.Metrics != nil:
						took.add(time.Since(e.Metrics.Timestamp))
					case there.Add(1) == int64(len(jobs)):
						close(all)
					}
					return nil
				})
				if ctx.Err() != nil {
					return nil
				}
				return err
			})
		}
	}
	select {
	case <-all:
	case <-time.After(time.Minute):
		return f, fmt.Errorf("of %d clients only %d were told a job's status within a minute", len(jobs), there.Load())
	case <-ctx.Done():
		return f, ctx.Err()
	}
	opened := time.Since(begin)
	memory, open := liveBytes(), openFiles()
	seconds := o.scaled(10, 2)
	clock := time.NewTicker(time.Second)
	defer clock.Stop()
	for step := range seconds {
		for i, id := range jobs {
			if i > 0 && id == jobs[0] {
				break
			}
			m := scu.Metrics{JobID: id, Attempt: 1, Step: step + 1, Steps: seconds, Loss: 3, CE: 3, Timestamp: time.Now()}
			if err := w.steps.PublishMetrics(ctx, "load", m); err != nil {
				return f, err
			}
		}
		select {
		case <-clock.C:
		case <-ctx.Done():
			return f, ctx.Err()
		}
	}
	patience, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if f.took = took.wait(patience, seconds*len(jobs)); len(f.took) != seconds*len(jobs) {
		return f, fmt.Errorf("%d steps were told, not %d", len(f.took), seconds*len(jobs))
	}
	f.costs = fmt.Sprintf("all open after %.1f s, %d KiB of heap and %.1f files a client with its own end",
		opened.Seconds(), max(0, memory-before)/len(jobs)>>10, float64(open-filesBefore)/float64(len(jobs)))
	return f, nil
}
