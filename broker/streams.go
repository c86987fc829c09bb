package broker

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of what is stored.
const (
	stateStream     = "SCU_STATE"    // the log of state events, kept for ever
	jobsStream      = "SCU_JOBS"     // the work queue, sourced from the log
	metricsStream   = "SCU_METRICS"  // one message an optimiser step
	adaptersBucket  = "SCU_ADAPTERS" // object store
	filesBucket     = "SCU_FILES"    // object store
	keysBucket      = "SCU_KEYS"     // key-value, entries expire
	presenceBucket  = "SCU_TRAINERS" // key-value, in memory, entries expire
	objectStreamPre = "OBJ_"         // what JetStream puts before a bucket's name
	kvStreamPre     = "KV_"
)

// Setup creates the streams and stores, or brings them up to date; whatever they
// hold stays. The API calls it once at start; trainers may not.
func (b *Broker) Setup(ctx context.Context) error {
	streams := []jetstream.StreamConfig{
		{
			Name:        stateStream,
			Description: "Every change of every job; the source of truth",
			Subjects:    []string{"scu.state.>"},
			AllowDirect: b.opts.Replicas == 1, // a replica's answer may be stale
		},
		{
			Name:        jobsStream,
			Description: "Jobs that wait or run, derived from SCU_STATE",
			Retention:   jetstream.WorkQueuePolicy,
			Sources: []*jetstream.StreamSource{{
				Name: stateStream,
				SubjectTransforms: []jetstream.SubjectTransformConfig{{
					Source:      "scu.state.*." + whoSubmit + ".*.*",
					Destination: "scu.jobs.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(1)}}",
				}},
			}},
			RePublish: &jetstream.RePublish{
				Source:      "scu.jobs.*.*.*",
				Destination: "scu.bell.{{wildcard(1)}}.{{wildcard(2)}}",
				HeadersOnly: true,
			},
		},
		{
			Name:        metricsStream,
			Description: "Every optimiser step of every job",
			Subjects:    []string{"scu.metrics.*.*"},
			Compression: jetstream.S2Compression,
		},
	}
	objects := []jetstream.ObjectStoreConfig{
		{Bucket: adaptersBucket, Description: "Trained adapters, a zip each"},
		{Bucket: filesBucket, Description: "Uploads and data sets, by sha256"},
	}
	keys := jetstream.KeyValueConfig{
		Bucket: keysBucket, Description: "Clients' keys of submissions, by sha256",
		TTL: keysTTL, MaxBytes: keysBytes, Replicas: b.opts.Replicas,
	}
	presence := jetstream.KeyValueConfig{
		Bucket: presenceBucket, Description: "Trainers that are there",
		Storage: jetstream.MemoryStorage, TTL: presenceTTL, Replicas: b.opts.Replicas,
	}

	for _, c := range streams {
		c.Replicas = b.opts.Replicas
		err := b.try(ctx, func(ctx context.Context) error { _, err := b.js.CreateOrUpdateStream(ctx, c); return err })
		if err != nil {
			return fault(err, "set up stream %s", c.Name)
		}
	}
	for _, c := range objects {
		c.Replicas = b.opts.Replicas
		err := b.try(ctx, func(ctx context.Context) error { _, err := b.js.CreateOrUpdateObjectStore(ctx, c); return err })
		if err != nil {
			return fault(err, "set up object store %s", c.Bucket)
		}
	}
	for _, c := range []jetstream.KeyValueConfig{keys, presence} {
		err := b.try(ctx, func(ctx context.Context) error { _, err := b.js.CreateOrUpdateKeyValue(ctx, c); return err })
		if err != nil {
			return fault(err, "set up bucket %s", c.Bucket)
		}
	}
	return nil
}

// try makes one request in its bounded time.
func (b *Broker) try(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	return request(ctx)
}
