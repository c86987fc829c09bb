//go:build unix

package main

import (
	"context"
	"fmt"
	"time"
)

// queued measures what a long queue changes: the memory that it takes, the start of a job that
// an idle trainer waits for beside it, what a trainer takes for one job of it after the other,
// and the status of jobs at its begin, in its middle and at its end.
func queued(ctx context.Context, w *world, o options) ([]row, error) {
	s, err := w.submitter(ctx)
	if err != nil {
		return nil, err
	}
	n, trainers := o.queued, o.scaled(200, 4)
	k := o.scaled(1000, 20)
	first, err := s.batches(ctx, min(k+1, n))
	if err != nil {
		return nil, err
	}
	short, err := w.turns(ctx, "short", k)
	if err != nil {
		return nil, err
	}
	if err := w.catchUp(ctx); err != nil {
		return nil, err
	}
	before := memory()
	begin := time.Now()
	middle, err := s.batches(ctx, n/2)
	if err != nil {
		return nil, err
	}
	half := memory()
	last, err := s.batches(ctx, n-n/2)
	if err != nil {
		return nil, err
	}
	all := time.Since(begin)
	if err := w.catchUp(ctx); err != nil {
		return nil, err
	}
	if o.heapProfile != "" {
		if err := writeHeap(o.heapProfile); err != nil {
			return nil, err
		}
	}
	after := memory()
	stop := w.watchStatus(ctx, s.Client, first, middle, last)
	beside, err := w.pickups(ctx, "beside", "gpu-24", trainers, k)
	status, err := stop(err)
	if err != nil {
		return nil, err
	}
	long, err := w.turns(ctx, "long", k)
	if err != nil {
		return nil, err
	}
	return []row{
		{"submissions in batches, to queue so many", n, rate(n, all), "5,000/s"},
		{"memory before, with half, with all queued", n, before + "; " + half + "; " + after, "flat"},
		{fmt.Sprintf("with %d queued: submission to start, %d idle trainers of another class", n, trainers), k, quantiles(beside), "p99 10 ms"},
		{"the same: status of the first, the middle and the last job meanwhile", len(status), looks(status), "p99 5 ms"},
		{"the same: a trainer from one job of the queue to the next; with few queued", k, quantiles(long) + "; " + quantiles(short), "unchanged"},
	}, nil
}

// turns is how long one trainer takes from each job's start to the next one's.
func (w *world) turns(ctx context.Context, name string, n int) (took []time.Duration, err error) {
	started, dismiss, err := w.trainers(ctx, name, "cpu", 1)
	if err != nil {
		return nil, err
	}
	defer dismiss()
	for range n {
		begin := time.Now()
		if _, err := next(ctx, started); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}
