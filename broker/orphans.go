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

// sweepAdapters removes what was stored before a time and no job has: zips of attempts that broke
// off, and what jobs left whose deletion an API began and died in, of which the metrics go as well.
func (b *Broker) sweepAdapters(ctx context.Context, before time.Time) error {
	return errors.Join(b.sweepKind(ctx, scu.AdapterBlob, before), b.sweepKind(ctx, scu.CheckpointBlob, before))
}

func (b *Broker) sweepKind(ctx context.Context, kind scu.BlobKind, before time.Time) error {
	if b.opts.Blobs == nil && b.short.leftOut(objectStreamPre+buckets[kind]) {
		return nil
	}
	return scu.EachBlob(ctx, b.Blobs(), kind, "", func(stored scu.Blob) error {
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
		switch {
		case e.Job.Status == scu.Deleted:
			return errors.Join(deleteBlob(ctx, b.Blobs(), stored.Key), b.purgeMetrics(ctx, job))
		case kind != scu.AdapterBlob || has(e.Job, stored.Key.Name): // checkpoints of runs are their trainers' to sweep
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
