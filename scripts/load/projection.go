//go:build unix

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/shannon-control/scu"
)

// projection measures how fast metrics come into PostgreSQL: from a backlog, and how far
// behind it is at a steady rate.
func projection(ctx context.Context, w *world, o options) ([]row, error) {
	n := o.scaled(200_000, 1000)
	job := scu.NewJobID()
	begin := time.Now()
	if err := publish(ctx, w, job, 1, n); err != nil {
		return nil, err
	}
	if err := w.catchUp(ctx); err != nil {
		return nil, err
	}
	all := time.Since(begin)

	behind, err := w.steady(ctx, time.Duration(max(0.2, 10*o.scale)*float64(time.Second)))
	if err != nil {
		return nil, err
	}
	step, err := w.rowBytes(ctx, "metrics")
	if err != nil {
		return nil, err
	}
	inJobs, err := w.rowBytes(ctx, "jobs")
	if err != nil {
		return nil, err
	}
	return []row{
		{"PostgreSQL, with indices, for a step and a job", n, fmt.Sprintf("%.0f and %.0f bytes", step, inJobs), ""},
		{"steps into NATS and PostgreSQL, both at once", n, rate(n, all), "30,000/s"},
		{fmt.Sprintf("read model's lag at %d steps/s", offeredSteps), len(behind), quantiles(behind), "p99 100 ms"},
	}, nil
}

// rebuild measures how fast the read model is made anew from what is in NATS.
func rebuild(ctx context.Context, w *world, goal string) ([]row, error) {
	end, err := w.broker.End(ctx)
	if err != nil {
		return nil, err
	}
	w.stopProjector()
	defer w.startProjector(ctx)
	begin := time.Now()
	if err := w.newProjector().Rebuild(ctx); err != nil {
		return nil, err
	}
	n := int(end.State + end.Metrics)
	return []row{{fmt.Sprintf("read model made anew: %d changes of jobs, %d steps", end.State, end.Metrics), n, rate(n, time.Since(begin)), goal}}, nil
}

func rebuildJobs(ctx context.Context, w *world, _ options) ([]row, error) {
	return rebuild(ctx, w, "10,000/s")
}

func rebuildAll(ctx context.Context, w *world, _ options) ([]row, error) {
	return rebuild(ctx, w, "30,000/s")
}

// publish publishes the steps first to last of a job, and waits until they are stored.
func publish(ctx context.Context, w *world, job string, first, last int) error {
	for step := first; step <= last; step++ {
		m := scu.Metrics{JobID: job, Attempt: 1, Step: step, Steps: last, Loss: 3, CE: 3, Timestamp: time.Now()}
		if err := w.steps.PublishMetrics(ctx, "load", m); err != nil {
			return err
		}
	}
	return w.steps.FlushMetrics(ctx)
}

// catchUp waits until the read model has all that NATS has.
func (w *world) catchUp(ctx context.Context) error {
	end, err := w.broker.End(ctx)
	if err != nil {
		return err
	}
	return w.projector.WaitFor(ctx, end)
}

// rowBytes is what a row of a table takes, its share of the indices included.
func (w *world) rowBytes(ctx context.Context, table string) (bytes float64, err error) {
	err = w.sql.QueryRowContext(ctx, "SELECT pg_total_relation_size('"+table+"')::float8 / greatest(1, (SELECT count(*) FROM "+table+"))").Scan(&bytes)
	return bytes, err
}
