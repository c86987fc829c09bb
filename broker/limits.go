package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Limits of what grows with all work; see [Options].
const (
	DefaultLogBytes     = 16 << 30 // 800,000 jobs
	DefaultMetricsBytes = 64 << 30 // 100 million steps
	DefaultMetricsAge   = 365 * 24 * time.Hour
	DefaultStoreBytes   = 64 << 30
	// LeastBytes is the least limit of each.
	LeastBytes = 16 << 20
)

// queueShare is the part of the log's limit that the queue may take. It has one entry of each job
// that has not ended, for which the log keeps room for 13 longer ones at least.
const queueShare = 8

// maxConsumers bounds the readers of a stream: each class, priority and owner with jobs has one of
// the queue, and a client that follows a job, while it reads what was, one of the log or the metrics. A server
// allows 1,000 unless a stream says otherwise. An idle one takes 10 to 19 KiB.
const maxConsumers = 10_000

// limit sets the limits of a stream, by the settings and by what old has. The log is never
// shortened: what doesn't fit is refused. Of the metrics the oldest go. Without a setting the
// limit stays what it was, and is at first the default, or twice what is stored.
func (b *Broker) limit(ctx context.Context, c *jetstream.StreamConfig, old *jetstream.StreamInfo) error {
	var set, otherwise int64
	switch c.Name {
	case jobsStream:
		log, err := b.logInfo(ctx)
		if err != nil {
			return err
		}
		c.Discard, c.MaxConsumers = jetstream.DiscardNew, maxConsumers
		if b.hasRoom() {
			c.MaxBytes = max(log.Config.MaxBytes/queueShare, 2*int64(old.State.Bytes))
		}
		return nil
	case stateStream:
		c.Discard = jetstream.DiscardNew
		set, otherwise = b.opts.LogBytes, DefaultLogBytes
	case metricsStream:
		c.MaxAge = b.opts.MetricsAge
		set, otherwise = b.opts.MetricsBytes, DefaultMetricsBytes
	default:
		return nil
	}
	c.MaxConsumers = maxConsumers
	stored, before := int64(old.State.Bytes), old.Config.MaxBytes
	c.MaxBytes = limitOf(set, otherwise, old)
	if c.Name == stateStream && stored > 0 && set > 0 && (before <= 0 || set < before) {
		return b.holdsLog(ctx, c.MaxBytes, stored)
	}
	return nil
}

// hasRoom reports whether NATS keeps as much free as it is asked to: the server of this process
// does, and others as much as their disks have, by default three quarters. There the queue,
// which the log's limit bounds too, has no limit of its own, and the object stores have one if it
// is set: what is kept free for them couldn't be given to the log any more.
func (b *Broker) hasRoom() bool { return b.opts.Server != nil }

// storeLimit is the limit of each object store if there is none yet; -1 is none.
func (b *Broker) storeLimit() int64 {
	if b.hasRoom() {
		return DefaultStoreBytes
	}
	return -1
}

// limitOf is the limit of the stream that is old, by its setting, by what it was, or by its default.
func limitOf(set, otherwise int64, old *jetstream.StreamInfo) int64 {
	switch {
	case set > 0:
		return set
	case old.Config.MaxBytes > 0:
		return old.Config.MaxBytes
	}
	if otherwise <= 0 {
		return otherwise
	}
	return max(otherwise, 2*int64(old.State.Bytes))
}

// holdsLog refuses a limit of the log below what it has and keeps for its open jobs.
func (b *Broker) holdsLog(ctx context.Context, limit, stored int64) error {
	if err := b.open.readOn(ctx); err != nil {
		return err
	}
	info, err := b.logInfo(ctx)
	if err != nil {
		return err
	}
	if kept := b.open.atMost(info); stored+kept > limit {
		return scu.Errorf(scu.CodeInvalid, "the log has %d bytes and keeps %d for jobs that have not ended, more than the limit of %d", stored, kept, limit).At("log-max-bytes").
			WithHint("set a higher limit: the log isn't shortened")
	}
	return nil
}

// setUpBounded sets up the stream that is old with its limit and replicas, or as [Broker.fit] makes
// it fit, of which [Broker.Shortages] then tells.
func (b *Broker) setUpBounded(ctx context.Context, old *jetstream.StreamInfo, limit int64, replicas int, set func(limit int64, replicas int) error) error {
	name := old.Config.Name
	what, why, err := b.fit(ctx, old, limit, replicas, set)
	switch {
	case lacksStorage(err):
		return b.noRoom(ctx, name, "can't be changed", limit, err)
	case err == nil && why == nil:
		b.lacksNothing(name)
	case err == nil:
		b.lacks(name, what, b.noRoom(ctx, name, what, limit, why))
	}
	return err
}

// fit calls set, which sets up the stream that is old. If NATS has no room, one that has no limit
// yet gets a lower one, if that is by default. Otherwise it keeps the replicas that it has, or
// stays as it is: what says so, and why is NATS's reason.
//
// NATS refuses every change of a stream, even to a lower limit, while limits keep more free than it
// has: as when it started again with less of its disk free.
func (b *Broker) fit(ctx context.Context, old *jetstream.StreamInfo, limit int64, replicas int, set func(limit int64, replicas int) error) (what string, why, err error) {
	name := old.Config.Name
	bounded := name == stateStream || name == metricsStream
	byDefault, given := b.isDefault(name), limit
	if byDefault && old.Config.MaxBytes <= 0 {
		given, err = b.highest(ctx, old, limit, replicas, !bounded, set)
	} else {
		err = set(limit, replicas)
	}
	switch {
	case !lacksStorage(err):
		if err == nil && given != limit {
			b.log.Warn("NATS has less storage than the default limit of a stream", "stream", name, "limit", given)
		}
		return "", nil, err
	case replicas > old.Config.Replicas:
		_, _, other := b.fit(ctx, old, limit, old.Config.Replicas, set)
		return fmt.Sprintf("has %d of %d replicas", old.Config.Replicas, replicas), err, other
	case limit == old.Config.MaxBytes || byDefault && !bounded:
		return "stays as it is, though this version or its settings would change it", err, nil
	}
	return "", nil, err
}

// highest calls set with a limit, and with lower ones until NATS has room for one: it keeps all of
// a limit free for its stream. Each next one is well below the last, so that there is room for other
// streams too. With none at last if that may be.
func (b *Broker) highest(ctx context.Context, old *jetstream.StreamInfo, limit int64, replicas int, unlimited bool, set func(limit int64, replicas int) error) (given int64, err error) {
	least := max(LeastBytes, 2*int64(old.State.Bytes))
	if unlimited {
		least = limit / 8
	}
	err = set(limit, replicas)
	for next := lower(limit); lacksStorage(err) && next >= least; next = lower(next) {
		now, e := b.existing(ctx, old.Config.Name)
		if e == nil && now != nil && now.Config.MaxBytes > 0 && now.Config.Replicas >= replicas {
			return limit, nil // another API was faster
		}
		given, err = next, set(next, replicas)
	}
	if lacksStorage(err) && unlimited {
		given, err = -1, set(-1, replicas)
	}
	return cmp.Or(given, limit), err
}

// lower is the limit to try after one that NATS has no room for. Odd as it is, it leaves some
// room: once limits take all of it to the byte, NATS makes and changes no stream any more.
func lower(limit int64) int64 { return limit*3/16 - 4321 }

// isDefault reports whether no setting says the limit of a stream.
func (b *Broker) isDefault(stream string) bool {
	set := int64(0)
	switch {
	case stream == stateStream:
		set = b.opts.LogBytes
	case stream == metricsStream:
		set = b.opts.MetricsBytes
	case strings.HasPrefix(stream, objectStreamPre):
		set = b.opts.StoreBytes
	}
	return set == 0
}

// whenRoom does setUp, again for a while if NATS has no storage for a stream: it counts what
// another API is just making twice. If streams lack room anyway, it isn't waited for.
func (b *Broker) whenRoom(ctx context.Context, setUp func() error) error {
	patience, cancel := context.WithTimeout(ctx, b.opts.timeout)
	defer cancel()
	for {
		err := setUp()
		if !lacksStorage(err) || b.short.any() || scu.Sleep(patience, lookForStream) != nil {
			return err
		}
	}
}

// LogUse tells how full the log is, as it was a moment ago.
func (b *Broker) LogUse(ctx context.Context) (scu.StreamUse, error) { return b.room.look(ctx, usesAge) }

// Streams tells how full the streams are, as they were a moment ago.
func (b *Broker) Streams(ctx context.Context) ([]scu.StreamUse, error) {
	log, err := b.LogUse(ctx)
	if err != nil {
		return nil, err
	}
	others, err := b.uses(ctx)
	return append([]scu.StreamUse{log}, others...), err
}

const (
	// usesAge is how old that may be of the log.
	usesAge = 200 * time.Millisecond
	// othersAge is how old it may be of the other streams, which are many.
	othersAge = 2 * time.Second
)

// askUses asks how full the streams but for the log are, the metrics first. Those whose oldest
// entries always go are left out.
func (b *Broker) askUses(ctx context.Context) ([]scu.StreamUse, error) {
	all := []scu.StreamUse{{Name: scu.MetricsUse}}
	for _, name := range b.streamNames() {
		if name == stateStream || name == deliveriesStream {
			continue
		}
		info, err := b.streamInfo(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) && b.short.leftOut(name) {
			continue
		}
		if err != nil {
			return nil, fault(err, "stream %s", name)
		}
		u := scu.StreamUse{Name: useName(name), Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes}
		if name == metricsStream {
			all[0] = u
		} else {
			all = append(all, u)
		}
	}
	return all, nil
}

// useName is what a stream is called to people: SCU_METRICS is metrics, KV_SCU_KEYS is keys.
func useName(stream string) string {
	_, name, _ := strings.Cut(stream, "SCU_")
	return strings.ToLower(name)
}
