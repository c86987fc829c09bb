package broker

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/shannon-control/scu"
)

// Names of what is stored.
const (
	stateStream         = "SCU_STATE"       // the log of state events, kept for ever
	jobsStream          = "SCU_JOBS"        // the work queue, sourced from the log
	slotsStream         = "SCU_SLOTS"       // who runs jobs of owners that are limited
	metricsStream       = "SCU_METRICS"     // one message an optimiser step
	adaptersBucket      = "SCU_ADAPTERS"    // object store
	filesBucket         = "SCU_FILES"       // object store
	checkpointsBucket   = "SCU_CHECKPOINTS" // object store
	deletionMarksBucket = "SCU_CONDEMNED"   // key-value, entries expire
	keysBucket          = "SCU_KEYS"        // key-value, entries expire
	apiKeysBucket       = "SCU_API_KEYS"    // key-value, by id
	holdersBucket       = "SCU_HOLDERS"     // key-value, by file and owner
	presenceBucket      = "SCU_TRAINERS"    // key-value, in memory, entries expire
	comparisonsBucket   = "SCU_COMPARISONS" // key-value, by id
	webhooksBucket      = "SCU_WEBHOOKS"    // key-value, by id
	damageBucket        = "SCU_DAMAGE"      // key-value, by blob
	deliveriesStream    = "SCU_DELIVERIES"  // the newest tries to tell each webhook
	objectStreamPre     = "OBJ_"            // what JetStream puts before a bucket's name
	kvStreamPre         = "KV_"
)

// queueSource puts the log's entries by who, with a level, into the queue.
func queueSource(who string) *jetstream.StreamSource {
	return &jetstream.StreamSource{
		Name: stateStream,
		SubjectTransforms: []jetstream.SubjectTransformConfig{{
			Source:      "scu.state.*." + who + ".*.*",
			Destination: "scu.jobs.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(1)}}",
		}},
	}
}

// streamConfigs are the streams that are no bucket's.
func (b *Broker) streamConfigs() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name:               stateStream,
			Description:        "Every change of every job; the source of truth",
			Subjects:           []string{"scu.state.>"},
			AllowRollup:        true, // for the probe
			AllowAtomicPublish: true, // for submissions of many jobs
		},
		{
			Name:        jobsStream,
			Description: "Jobs that wait or run, derived from SCU_STATE",
			Retention:   jetstream.WorkQueuePolicy,
			Subjects:    []string{"scu.jobs.>"}, // what the server did not derive is put here; see reconciler
			// A job that was put here and is derived after all takes its own place.
			MaxMsgsPerSubject: 1,
			// Two sources, since the server begins anew with one whose transforms change.
			Sources: []*jetstream.StreamSource{queueSource(whoSubmit), queueSource(whoAgain)},
			RePublish: &jetstream.RePublish{
				Source:      "scu.jobs.*.*.*",
				Destination: "scu.bell.{{wildcard(1)}}.{{wildcard(2)}}",
				HeadersOnly: true,
			},
		},
		slotsConfig(b.opts.AckWait),
		{
			Name:        metricsStream,
			Description: "Every optimiser step of every job",
			Subjects:    []string{"scu.metrics.*.*"},
			Compression: jetstream.S2Compression,
		},
		{
			Name:              deliveriesStream,
			Description:       "Tries to tell webhooks of changes",
			Subjects:          []string{"scu.delivery.*"},
			MaxMsgsPerSubject: keptDeliveries,
			MaxAge:            deliveryAge,
			MaxBytes:          64 << 20,
		},
	}
}

var objectStores = []jetstream.ObjectStoreConfig{
	{Bucket: adaptersBucket, Description: "Trained adapters, a zip each"},
	{Bucket: filesBucket, Description: "Uploads and data sets, by sha256"},
	{Bucket: checkpointsBucket, Description: "What interrupted runs go on from"},
}

// keyValues' limits are far beyond what comes of ordinary work; what is more is refused.
var keyValues = []jetstream.KeyValueConfig{
	{Bucket: keysBucket, Description: "Clients' keys of submissions, by sha256", TTL: keysTTL, MaxBytes: keysBytes},
	{Bucket: apiKeysBucket, Description: "API keys, by their hashes", MaxBytes: 16 << 20},
	{Bucket: holdersBucket, Description: "Whose files are", MaxBytes: 64 << 20},
	{Bucket: deletionMarksBucket, Description: "Files that are about to be deleted", TTL: deletionMarkTTL, MaxBytes: 16 << 20},
	{Bucket: damageBucket, Description: "Stored blobs that are damaged, and when all were read last", MaxBytes: 16 << 20},
	{Bucket: presenceBucket, Description: "Trainers that are there", Storage: jetstream.MemoryStorage, TTL: presenceTTL, MaxBytes: 16 << 20},
	{Bucket: webhooksBucket, Description: "Addresses that are told when jobs change", MaxBytes: 16 << 20},
	{Bucket: comparisonsBucket, Description: "Comparisons of settings; their runs are jobs", MaxBytes: 64 << 20},
}

// streamNames lists every stream that the service needs, those of buckets among them.
func (b *Broker) streamNames() (all []string) {
	for _, c := range b.streamConfigs() {
		all = append(all, c.Name)
	}
	for _, c := range objectStores {
		all = append(all, objectStreamPre+c.Bucket)
	}
	for _, c := range keyValues {
		all = append(all, kvStreamPre+c.Bucket)
	}
	return all
}

// Setup creates the streams and stores, or brings them up to date; whatever they
// hold stays, and no stream loses replicas. The API calls it at start, and when one is
// gone; trainers may not. CodeInvalid if NATS can't have the replicas that are set,
// CodeUnavailable if it can't have the default ones now, or has no room for the log, the queue,
// its slots or the metrics, CodeStorage if it has none for a limit that is set. What else it has no room
// for is left as it is, or out: see [Broker.Shortages].
func (b *Broker) Setup(ctx context.Context) error {
	for _, c := range b.streamConfigs() {
		if err := b.whenRoom(ctx, func() error { return b.setUpStream(ctx, c) }); err != nil {
			return b.setupFault(err, "stream "+c.Name)
		}
	}
	if err := b.putQueueHead(ctx); err != nil {
		return fault(err, "set up the queue")
	}
	for _, c := range objectStores {
		set := func(s *jetstream.StreamConfig) { s.Description = c.Description }
		err := b.setUpBucket(ctx, objectStreamPre+c.Bucket, b.opts.StoreBytes, b.storeLimit(), set, func(ctx context.Context, replicas int) error {
			c.Replicas = replicas
			_, err := b.js.CreateOrUpdateObjectStore(ctx, c)
			return err
		})
		if err != nil {
			return b.setupFault(err, "object store "+c.Bucket)
		}
	}
	for _, c := range keyValues {
		if err := b.setUpKeyValue(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// setUpKeyValue is Setup of one bucket.
func (b *Broker) setUpKeyValue(ctx context.Context, c jetstream.KeyValueConfig) error {
	err := b.dropUncopied(ctx, c)
	if err == nil {
		limit := c.MaxBytes
		set := func(s *jetstream.StreamConfig) { s.Description, s.MaxAge = c.Description, c.TTL }
		err = b.setUpBucket(ctx, kvStreamPre+c.Bucket, 0, limit, set, func(ctx context.Context, replicas int) error {
			c.Replicas, c.MaxBytes = replicas, 0
			_, err := b.js.CreateOrUpdateKeyValue(ctx, c)
			return err
		})
	}
	return b.setupFault(err, "bucket "+c.Bucket)
}

// setUpStream creates a stream, or brings it up to date. A new one gets an identity,
// which lasts as long as it does.
func (b *Broker) setUpStream(ctx context.Context, c jetstream.StreamConfig) error {
	old, err := b.existing(ctx, c.Name)
	if err != nil {
		return err
	}
	c.Replicas = b.replicas(old)
	c.Metadata = map[string]string{identityKey: nuid.Next()}
	if old != nil && old.Config.Metadata[identityKey] != "" {
		c.Metadata[identityKey] = old.Config.Metadata[identityKey]
	}
	if old == nil {
		// Without a limit: of a stream that two APIs make at once NATS would keep its limit free
		// twice, for ever.
		unlimited := c
		unlimited.MaxBytes = 0
		if old, err = b.create(ctx, unlimited); err != nil {
			if lacksStorage(err) {
				short := b.noRoom(ctx, c.Name, cantBeMade, 0, err)
				if c.Name == deliveriesStream { // webhooks are told all the same
					b.lacks(c.Name, cantBeMade, short)
					return nil
				}
				short.Code, short.Retry = scu.CodeUnavailable, true // nothing works without it
				err = short
			}
			return err
		}
		c.Metadata[identityKey] = old.Config.Metadata[identityKey]
	}
	if c.Name == stateStream && (b.keysMade.Load() || old.Config.Metadata[keysMadeKey] != "") {
		c.Metadata[keysMadeKey] = "yes"
	}
	if err := b.limit(ctx, &c, old); err != nil {
		return err
	}
	return b.setUpBounded(ctx, old, c.MaxBytes, c.Replicas, func(limit int64, replicas int) error {
		c.MaxBytes, c.Replicas = limit, replicas
		c.AllowDirect = c.Name == stateStream && replicas == 1 // a replica's answer may be stale
		if unchanged(c, old.Config) {
			return nil
		}
		return b.make(ctx, old, c.Name, func(ctx context.Context) error { return b.update(ctx, c, old) })
	})
}

// unchanged reports whether a stream has the configuration c, but for what its server adds.
func unchanged(c, has jetstream.StreamConfig) bool {
	if c.MaxAge != has.MaxAge {
		return false
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = -1
	}
	metadata := map[string]string{}
	maps.Copy(metadata, has.Metadata)
	maps.Copy(metadata, c.Metadata)
	c.Metadata = metadata
	fields, theirs := reflect.ValueOf(&c).Elem(), reflect.ValueOf(has)
	for i := range fields.NumField() {
		if f := fields.Field(i); f.IsZero() && f.Kind() != reflect.Bool {
			f.Set(theirs.Field(i))
		}
	}
	return reflect.DeepEqual(c, has)
}

// setUpBucket creates the stream of a bucket, or brings it up to date with set. One with
// replicas is read at its leader: what a client makes of a bucket leaves its reading to any of
// them, which may not have what was just stored. limit is what the setting says that it may take,
// or otherwise the default; it is created without, as streams are.
func (b *Broker) setUpBucket(ctx context.Context, name string, limit, otherwise int64, set func(*jetstream.StreamConfig), create func(ctx context.Context, replicas int) error) error {
	is, err := b.existing(ctx, name)
	if err == nil && is == nil {
		err = b.whenRoom(ctx, func() error {
			return b.make(ctx, nil, name, func(ctx context.Context) error { return create(ctx, b.wanted()) })
		})
		if lacksStorage(err) {
			b.lacks(name, cantBeMade, b.noRoom(ctx, name, cantBeMade, 0, err))
			return nil
		}
		if err == nil {
			is, err = b.streamInfo(ctx, name)
		}
	}
	if err != nil {
		return err
	}
	c := is.Config
	set(&c)
	return b.whenRoom(ctx, func() error {
		return b.setUpBounded(ctx, is, limitOf(limit, otherwise, is), b.replicas(is), func(limit int64, replicas int) error {
			c.MaxBytes, c.Replicas, c.AllowDirect = limit, replicas, replicas == 1
			if reflect.DeepEqual(c, is.Config) {
				return nil
			}
			return b.make(ctx, is, name, func(ctx context.Context) error { return b.update(ctx, c, is) })
		})
	})
}

// dropUncopied deletes a bucket in memory that is to have more replicas than it has: copies that
// are given to it never come up if its server goes before they have it all. What is in it is
// said again soon.
func (b *Broker) dropUncopied(ctx context.Context, c jetstream.KeyValueConfig) error {
	if c.Storage != jetstream.MemoryStorage {
		return nil
	}
	is, err := b.existing(ctx, kvStreamPre+c.Bucket)
	if err != nil || is == nil || is.Config.Replicas >= b.replicas(is) {
		return err
	}
	return b.try(ctx, func(ctx context.Context) error { return b.js.DeleteKeyValue(ctx, c.Bucket) })
}

// create makes a stream and returns it, or the one that another API made meanwhile.
func (b *Broker) create(ctx context.Context, c jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	err := b.make(ctx, nil, c.Name, func(ctx context.Context) error {
		_, err := b.js.CreateStream(ctx, c)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.streamInfo(ctx, c.Name)
}

// update brings a stream up to date. Servers up to 2.12 at least can't change how many consumers
// it may have, and bound them by nothing else.
func (b *Broker) update(ctx context.Context, c jetstream.StreamConfig, old *jetstream.StreamInfo) error {
	_, err := b.js.UpdateStream(ctx, c)
	if err != nil && c.MaxConsumers != old.Config.MaxConsumers && strings.Contains(err.Error(), "MaxConsumers") {
		c.MaxConsumers = old.Config.MaxConsumers
		_, err = b.js.UpdateStream(ctx, c)
	}
	return err
}

// make calls request, which creates the stream called name, or updates it as old. Of two
// APIs that make one stream at once neither may be answered, and a cluster answers no
// update while the stream's servers elect their leader: so a new stream counts as made when
// it has one, one that another API makes is waited for, and an update is sent again.
func (b *Broker) make(ctx context.Context, old *jetstream.StreamInfo, name string, request func(context.Context) error) error {
	update := func(ctx context.Context) error {
		err := b.within(ctx, b.opts.timeout/3, request)
		if errors.Is(err, context.DeadlineExceeded) {
			err = b.try(ctx, request)
		}
		return err
	}
	return b.within(ctx, 2*b.opts.timeout, func(ctx context.Context) error { // an election takes some seconds
		if old != nil && led(old) {
			return update(ctx)
		}
		var answer chan error
		if old == nil {
			answer = make(chan error, 1)
			asking, enough := context.WithCancel(ctx)
			defer enough()
			go func() { answer <- request(asking) }()
		}
		look := time.NewTicker(lookForStream)
		defer look.Stop()
		for {
			select {
			case err := <-answer:
				return err
			case <-look.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			var info *jetstream.StreamInfo
			err := b.within(ctx, b.opts.timeout/3, func(ctx context.Context) (err error) { info, err = b.existing(ctx, name); return err })
			switch {
			case err != nil || info == nil || !led(info):
			case old != nil:
				return update(ctx)
			default:
				return nil
			}
		}
	})
}

// led reports whether a stream has a leader, if it needs one.
func led(s *jetstream.StreamInfo) bool { return s.Cluster == nil || s.Cluster.Leader != "" }

// lookForStream is how often a stream that is being made is looked for.
const lookForStream = 100 * time.Millisecond

// streamInfo describes a stream; jetstream.ErrStreamNotFound if there is none.
func (b *Broker) streamInfo(ctx context.Context, name string) (info *jetstream.StreamInfo, err error) {
	err = b.try(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, name)
		if err == nil {
			info = s.CachedInfo()
		}
		return err
	})
	return info, err
}

// existing describes a stream; nil if there is none.
func (b *Broker) existing(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	info, err := b.streamInfo(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return info, err
}

// identityKey is where a stream's metadata has its identity.
const identityKey = "scu_identity"

// try makes one request in its bounded time.
func (b *Broker) try(ctx context.Context, request func(context.Context) error) error {
	return b.within(ctx, b.opts.timeout, request)
}

// listTimeout is how long a list may take: one of a long queue is long.
const listTimeout = 30 * time.Second

func (b *Broker) within(ctx context.Context, d time.Duration, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return request(ctx)
}
