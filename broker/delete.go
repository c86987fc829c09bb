package broker

import (
	"context"
	"errors"
	"maps"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// A deletion is an entry of the log, after which the job is gone; then what it
// stored is removed.

// Delete removes a job that has ended; see [scu.Log].
func (b *Broker) Delete(ctx context.Context, id string) error {
	var had scu.Job
	_, _, err := b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) {
		had = j
		return j.Delete(b.opts.Now())
	})
	if err != nil {
		return err
	}
	// The log has decided: the rest takes up room, and nobody sees it.
	clear, cancel := context.WithTimeout(context.WithoutCancel(ctx), stallTimeout)
	defer cancel()
	if err := errors.Join(b.purgeMetrics(clear, id), b.deleteAdapters(clear, had), b.forgetDamage(clear, id)); err != nil {
		b.log.Warn("what a deleted job stored stays until the next sweep", "job", id, "error", err)
	}
	return nil
}

// forgetDamage clears what is reported of a job's own blobs.
func (b *Broker) forgetDamage(ctx context.Context, id string) error {
	return scu.ForgetDamage(ctx, b, func(d scu.Damage) bool { return d.Kind != scu.FileBlob && d.Key().Job() == id })
}

func (b *Broker) purgeMetrics(ctx context.Context, id string) error {
	s, err := b.stream(ctx, metricsStream)
	if err != nil {
		return err
	}
	return fault(s.Purge(ctx, jetstream.WithPurgeSubject(metricsSubject(id, "*"))), "remove the metrics of job %s", id)
}

// deleteAdapters removes all zips of a job, and what its runs would have gone on from. NATS can't
// look for names by how they begin: there what the job has goes now, and what the log doesn't know of,
// as of an attempt that broke off, with the supervisor's next list of all names.
func (b *Broker) deleteAdapters(ctx context.Context, j scu.Job) (err error) {
	if b.opts.Blobs != nil {
		for _, kind := range []scu.BlobKind{scu.AdapterBlob, scu.CheckpointBlob} {
			err = errors.Join(err, scu.EachBlob(ctx, b.Blobs(), kind, j.ID+".", func(stored scu.Blob) error {
				return deleteBlob(ctx, b.Blobs(), stored.Key)
			}))
		}
		return err
	}
	for _, zip := range j.Zips() {
		err = errors.Join(err, deleteBlob(ctx, b.Blobs(), zip.Key()))
	}
	if j.Attempt > 0 { // else nobody has stored anything
		b.mu.Lock()
		b.deleted[j.ID] = true
		b.mu.Unlock()
	}
	return err
}

// sweepDeleted removes what else jobs stored in NATS that were deleted here since the call before.
func (b *Broker) sweepDeleted(ctx context.Context) (err error) {
	b.mu.Lock()
	jobs := b.deleted
	b.deleted = map[string]bool{}
	b.mu.Unlock()
	if len(jobs) == 0 {
		return nil
	}
	for _, kind := range []scu.BlobKind{scu.AdapterBlob, scu.CheckpointBlob} {
		if b.short.leftOut(objectStreamPre + buckets[kind]) {
			continue
		}
		names, e := objects{b}.names(ctx, kind)
		err = errors.Join(err, e)
		for _, name := range names {
			if key := (scu.BlobKey{Kind: kind, Name: name}); jobs[key.Job()] {
				err = errors.Join(err, deleteBlob(ctx, b.Blobs(), key))
			}
		}
	}
	if err != nil {
		b.mu.Lock()
		maps.Copy(b.deleted, jobs)
		b.mu.Unlock()
	}
	return err
}
