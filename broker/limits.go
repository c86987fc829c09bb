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

// limit sets the limits of a stream, by the settings and by what old has. The log is never
// shortened: what doesn't fit is refused. Of the metrics the oldest go. Without a setting the
// limit stays what it was, or is the default, and is at least twice what is stored.
func (b *Broker) limit(c *jetstream.StreamConfig, old *jetstream.StreamInfo) error {
	var set, otherwise int64
	switch c.Name {
	case stateStream:
		c.Discard = jetstream.DiscardNew
		set, otherwise = b.opts.LogBytes, DefaultLogBytes
	case metricsStream:
		c.MaxAge = b.opts.MetricsAge
		set, otherwise = b.opts.MetricsBytes, DefaultMetricsBytes
	default:
		return nil
	}
	var stored, before int64
	if old != nil {
		stored, before = int64(old.State.Bytes), old.Config.MaxBytes
	}
	switch {
	case set == 0 && before > 0:
		c.MaxBytes = max(before, 2*stored)
	case set == 0:
		c.MaxBytes = max(otherwise, 2*stored)
	case stored > set && c.Discard == jetstream.DiscardNew:
		return scu.Errorf(scu.CodeInvalid, "the log has %d bytes, more than the limit of %d", stored, set).At("log-max-bytes").
			WithHint("set a higher limit: the log isn't shortened")
	default:
		c.MaxBytes = set
	}
	return nil
}

// setUpBounded sets up a stream, with a lower limit if NATS has no such room: it keeps all of a
// limit free for the stream. What fits is halved once more, since other streams need room too.
func (b *Broker) setUpBounded(c jetstream.StreamConfig, old *jetstream.StreamInfo, set func(jetstream.StreamConfig) error) error {
	stored := int64(0)
	if old != nil {
		stored = int64(old.State.Bytes)
	}
	least := max(LeastBytes, 2*stored)
	err := set(c)
	if !lacksStorage(err) || !b.isDefault(c.Name) {
		return err
	}
	for lacksStorage(err) && c.MaxBytes/2 >= least {
		c.MaxBytes /= 2
		err = set(c)
	}
	if err == nil && c.MaxBytes/2 >= least {
		c.MaxBytes /= 2
		err = set(c)
	}
	b.log.Warn("NATS has less storage than the default limit of a stream", "stream", c.Name, "limit", c.MaxBytes)
	return err
}

// isDefault reports whether no setting says the limit of a stream.
func (b *Broker) isDefault(stream string) bool {
	return stream == stateStream && b.opts.LogBytes == 0 || stream == metricsStream && b.opts.MetricsBytes == 0
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

// Streams tells how full the log and the metrics are, as they were a moment ago.
func (b *Broker) Streams(ctx context.Context) ([]scu.StreamUse, error) { return b.uses(ctx) }

// usesAge is how old that may be: in it fewer jobs come than the room that is kept has place for.
const usesAge = 200 * time.Millisecond

func (b *Broker) askUses(ctx context.Context) ([]scu.StreamUse, error) {
	var all []scu.StreamUse
	for _, s := range []struct{ called, stream string }{{scu.LogUse, stateStream}, {scu.MetricsUse, metricsStream}} {
		info, err := b.existing(ctx, s.stream)
		if err == nil && info == nil {
			err = jetstream.ErrStreamNotFound
		}
		if err != nil {
			return nil, fault(err, "stream %s", s.stream)
		}
		all = append(all, scu.StreamUse{Name: s.called, Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes})
	}
	return all, nil
}

// roomForJobs refuses new jobs while the log has only the room that is kept for those that
// are here.
func (b *Broker) roomForJobs(ctx context.Context) error {
	all, err := b.uses(ctx)
	if err != nil {
		return err
	}
	return all[0].RoomForJobs()
}
