package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// A deletion is an entry of the log, after which the job is gone; then what it
// stored is removed.

// Delete removes a job that has ended; see [scu.Log].
func (b *Broker) Delete(ctx context.Context, id string) error {
	j, _, err := b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Delete(b.opts.Now()) })
	if err != nil {
		return err
	}
	// The log has decided: the rest takes up room, and nobody sees it.
	clear, cancel := context.WithTimeout(context.WithoutCancel(ctx), stallTimeout)
	defer cancel()
	if err := errors.Join(b.purgeMetrics(clear, id), b.deleteAdapters(clear, j), b.forgetDamage(clear, id)); err != nil {
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

// deleteAdapters removes all zips of a job, and what its runs would have gone on from.
func (b *Broker) deleteAdapters(ctx context.Context, j scu.Job) (err error) {
	of := j.ID + "."
	for _, kind := range []scu.BlobKind{scu.AdapterBlob, scu.CheckpointBlob} {
		if b.opts.Blobs != nil { // which finds names by how they begin
			err = errors.Join(err, scu.EachBlob(ctx, b.Blobs(), kind, of, func(stored scu.Blob) error {
				return deleteBlob(ctx, b.Blobs(), stored.Key)
			}))
			continue
		}
		names := b.names[kind]
		if j.CompletedAt == nil || b.opts.Now().Sub(*j.CompletedAt) < 2*namesAge {
			names = objects{b}.names(kind) // it may have stored something since
		}
		all, e := names(ctx)
		err = errors.Join(err, e)
		for _, name := range all {
			if strings.HasPrefix(name, of) {
				err = errors.Join(err, deleteBlob(ctx, b.Blobs(), scu.BlobKey{Kind: kind, Name: name}))
			}
		}
	}
	return err
}
