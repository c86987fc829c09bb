package broker

import (
	"context"

	"github.com/shannon-control/scu"
)

// Pausing, resuming and retrying are entries of the log. The server derives the queue
// from those that queue a job, so what was accepted is queued whatever dies next.

// Pause takes a job out of the queue, and from its trainer; see [scu.Log].
func (b *Broker) Pause(ctx context.Context, id string) (job scu.Job, already bool, err error) {
	var before scu.Job
	job, _, err = b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) {
		before = j
		return j.Pause(b.opts.Now())
	})
	if scu.CodeOf(err) == scu.CodeConflict && job.Status == scu.Paused {
		return job, true, nil
	}
	if err != nil {
		return job, false, err
	}
	if err := b.unqueue(ctx, before); err != nil {
		b.log.Warn("paused job stays in the queue until a trainer drops it", "job", id, "error", err)
	}
	b.hint(before)
	return job, false, nil
}

// Resume queues a paused or scheduled job; see [scu.Log].
func (b *Broker) Resume(ctx context.Context, id string) (job scu.Job, already bool, err error) {
	job, _, err = b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Resume(b.opts.Now()) })
	if scu.CodeOf(err) == scu.CodeConflict && job.Status.InQueue() {
		return job, true, nil
	}
	return job, false, err
}

// Retry queues a job again that failed or was cancelled; see [scu.Log].
func (b *Broker) Retry(ctx context.Context, id string, fromStart bool) (scu.Job, error) {
	job, _, err := b.Job(ctx, id)
	if err == nil {
		err = b.unmark(ctx, job.FileIDs())
	}
	if err != nil {
		return job, err
	}
	job, _, err = b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Retry(fromStart, b.opts.Now()) })
	return job, err
}
