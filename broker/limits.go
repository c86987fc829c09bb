package broker

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Limits of the two streams that grow with all work; see [Options].
const (
	DefaultLogBytes     = 16 << 30 // 800,000 jobs
	DefaultMetricsBytes = 64 << 30 // 100 million steps
	DefaultMetricsAge   = 365 * 24 * time.Hour
	// LeastBytes is the least limit of either.
	LeastBytes = 16 << 20
)

// maxConsumers bounds the readers of a stream: an event stream of a client has one of the log and
// one of the metrics, and each class, priority and owner with jobs one of the queue. A server
// allows 1,000 unless a stream says otherwise. An idle one takes 10 to 19 KiB.
const maxConsumers = 10_000

// limit sets the limits of a stream, by the settings and by what old has. The log is never
// shortened: what doesn't fit is refused. Of the metrics the oldest go. Without a setting the
// limit stays what it was, and is at first the default, or twice what is stored.
func (b *Broker) limit(ctx context.Context, c *jetstream.StreamConfig, old *jetstream.StreamInfo) error {
	var set, otherwise int64
	switch c.Name {
	case jobsStream:
		c.MaxConsumers = maxConsumers
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
	switch {
	case set == 0 && before > 0:
		c.MaxBytes = before
	case set == 0:
		c.MaxBytes = max(otherwise, 2*stored)
	default:
		c.MaxBytes = set
	}
	if c.Name == stateStream && stored > 0 && set > 0 && (before <= 0 || set < before) {
		return b.holdsLog(ctx, c.MaxBytes, stored)
	}
	return nil
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

// setUpBounded sets up a stream, with a lower limit than the default if NATS has no such room: it
// keeps all of a limit free for the stream. Each next one is well below the last, so that there
// is room for other streams too.
func (b *Broker) setUpBounded(ctx context.Context, c jetstream.StreamConfig, old *jetstream.StreamInfo, set func(jetstream.StreamConfig) error) error {
	err := set(c)
	if !lacksStorage(err) || !b.isDefault(c.Name) {
		return err
	}
	least := max(LeastBytes, 2*int64(old.State.Bytes))
	for next := c.MaxBytes * 3 / 16; lacksStorage(err) && next >= least; next = next * 3 / 16 {
		if now, e := b.existing(ctx, c.Name); e == nil && now != nil && now.Config.MaxBytes > 0 && old.Config.MaxBytes <= 0 {
			return nil // another API was faster
		}
		c.MaxBytes = next
		err = set(c)
	}
	if err == nil {
		b.log.Warn("NATS has less storage than the default limit of a stream", "stream", c.Name, "limit", c.MaxBytes)
	}
	return err
}

// isDefault reports whether no setting says the limit of a stream.
func (b *Broker) isDefault(stream string) bool {
	return stream == stateStream && b.opts.LogBytes == 0 || stream == metricsStream && b.opts.MetricsBytes == 0
}

// whenRoom does setUp, again for a while if NATS has no storage for a stream: it counts what
// another API is just making twice.
func (b *Broker) whenRoom(ctx context.Context, setUp func() error) error {
	patience, cancel := context.WithTimeout(ctx, b.opts.timeout)
	defer cancel()
	for {
		err := setUp()
		if !lacksStorage(err) || scu.Sleep(patience, lookForStream) != nil {
			return err
		}
	}
}

// lacksStorage reports whether NATS refused a stream since it can't keep its limit free.
func lacksStorage(err error) bool {
	switch codeOf(err) {
	case codeNoResources, codeNoStorage:
		return true
	case codeNoPeers:
		return strings.Contains(err.Error(), "storage")
	}
	return false
}

// Streams tells how full the streams are, as they were a moment ago.
func (b *Broker) Streams(ctx context.Context) ([]scu.StreamUse, error) {
	log, err := b.room.look(ctx, usesAge)
	if err != nil {
		return nil, err
	}
	others, err := b.uses(ctx)
	return append([]scu.StreamUse{log}, others...), err
}

// usesAge is how old that may be.
const usesAge = 200 * time.Millisecond

// askUses asks how full the streams but for the log are.
func (b *Broker) askUses(ctx context.Context) ([]scu.StreamUse, error) {
	info, err := b.existing(ctx, metricsStream)
	if err == nil && info == nil {
		err = jetstream.ErrStreamNotFound
	}
	if err != nil {
		return nil, fault(err, "stream %s", metricsStream)
	}
	return []scu.StreamUse{{Name: scu.MetricsUse, Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes}}, nil
}
