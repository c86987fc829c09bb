package broker

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// A deletion is an entry of the log, after which the job is gone; then what it
// stored is removed.

// Delete removes a job that has ended; see [scu.Log].
func (b *Broker) Delete(ctx context.Context, id string) error {
	_, _, err := b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Delete(b.opts.Now()) })
	if err != nil {
		return err
	}
	// The log has decided: the rest takes up room, and nobody sees it.
	clear, cancel := context.WithTimeout(context.WithoutCancel(ctx), stallTimeout)
	defer cancel()
	if err := errors.Join(b.purgeMetrics(clear, id), b.deleteAdapters(clear, id)); err != nil {
		b.log.Warn("what a deleted job stored stays until the next sweep", "job", id, "error", err)
	}
	return nil
}

func (b *Broker) purgeMetrics(ctx context.Context, id string) error {
	s, err := b.stream(ctx, metricsStream)
	if err != nil {
		return err
	}
	return fault(s.Purge(ctx, jetstream.WithPurgeSubject(metricsSubject(id, "*"))), "remove the metrics of job %s", id)
}

// deleteAdapters removes all zips of a job, and what its runs would have gone on from.
func (b *Broker) deleteAdapters(ctx context.Context, id string) (err error) {
	for _, kind := range []scu.BlobKind{scu.AdapterBlob, scu.CheckpointBlob} {
		err = errors.Join(err, scu.EachBlob(ctx, b.Blobs(), kind, id+".", func(stored scu.Blob) error {
			return deleteBlob(ctx, b.Blobs(), stored.Key)
		}))
	}
	return err
}
