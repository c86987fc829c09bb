package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// sweepAdapters removes zips older than a time that no job has: those of attempts
// that broke off, and those of jobs whose deletion an API began and died in. The metrics
// of such jobs go as well.
func (b *Broker) sweepAdapters(ctx context.Context, before time.Time) error {
	return scu.EachBlob(ctx, b.Blobs(), scu.AdapterBlob, "", func(stored scu.Blob) error {
		job := stored.Key.Job()
		if stored.StoredAt.After(before) || !scu.ValidJobID(job) {
			return nil
		}
		e, _, err := b.read(ctx, stateGuard(job))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil // a job that the log doesn't know is nobody's to delete: the log may have been damaged
		}
		if err != nil || e.Understood() != nil {
			return err
		}
		if e.Job.Status == scu.Deleted {
			return errors.Join(deleteBlob(ctx, b.Blobs(), stored.Key), b.purgeMetrics(ctx, job))
		}
		if has(e.Job, stored.Key.Name) {
			return nil
		}
		b.log.Info("a zip that no job has is removed", "name", stored.Key.Name)
		return deleteBlob(ctx, b.Blobs(), stored.Key)
	})
}

// dropBroken removes the adapters of attempts that broke off after storing them, once the job
// has ended. What it can't remove now stays until the next sweep.
func (b *Broker) dropBroken(ctx context.Context, j scu.Job) {
	last := j.Attempt
	if j.Status == scu.Completed {
		last--
	}
	b.dropAdapters(ctx, j.ID, last)
}

// dropAdapters removes the adapters of a job's attempts up to one.
func (b *Broker) dropAdapters(ctx context.Context, job string, last int) {
	ctx, cancel := b.bound(context.WithoutCancel(ctx))
	defer cancel()
	for n := 1; n <= last; n++ {
		if err := b.DeleteAdapter(ctx, scu.AdapterKey{Job: job, Attempt: n}); err != nil {
			b.log.Warn("the adapter of an attempt that broke off stays until the next sweep", "job", job, "attempt", n, "error", err)
			return
		}
	}
}

// has reports whether a stored zip is a job's: its adapter, one of its checkpoints, or
// what the running attempt has stored and not yet reported.
func has(j scu.Job, name string) bool {
	if !j.Status.Ended() && name == j.AdapterKey().Blob().Name ||
		slices.ContainsFunc(j.Zips(), func(zip scu.Damage) bool { return zip.Name == name }) {
		return true
	}
	var id string
	var attempt, step int
	if n, err := fmt.Sscanf(name, "%16s.%d.%d", &id, &attempt, &step); n < 2 {
		return err != nil // not a name of ours: leave it
	}
	return j.Status == scu.Running && attempt == j.Attempt
}
