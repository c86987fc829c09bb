package broker

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// follow calls f with each message of a stream after a sequence, in order and
// once, until ctx ends or f fails; filter "" is all. Whatever breaks below is set
// up again from where it was, unless same, if given, reports that the stream has been
// replaced by another.
func (b *Broker) follow(ctx context.Context, stream, filter string, after uint64, same func(ctx context.Context, after uint64) error, f func(seq uint64, subject string, data []byte) error) error {
	open := func(ctx context.Context, from uint64, _ context.CancelCauseFunc) (jetstream.Consumer, error) {
		return b.reader(ctx, stream, readerConfig(filter, from))
	}
	return b.followBy(ctx, stream, open, after, same, f)
}

// opener makes the consumer of a reading that begins at a sequence. ctx ends with that reading, and
// broken ends it, to be begun anew from where it is.
type opener func(ctx context.Context, from uint64, broken context.CancelCauseFunc) (jetstream.Consumer, error)

// followBy is follow by consumers that the caller makes.
//
// It is not jetstream's OrderedConsumer, whose resets wait out long timeouts on a
// connection that broke and don't end with a context.
func (b *Broker) followBy(ctx context.Context, stream string, open opener, after uint64, same func(ctx context.Context, after uint64) error, f func(seq uint64, subject string, data []byte) error) error {
	for {
		reconnected := b.nextReconnect()
		once, cancel := context.WithCancelCause(ctx)
		go func() { // what was under way on the old connection may be lost, unseen
			select {
			case <-reconnected:
				cancel(errReconnected)
			case <-once.Done():
			}
		}()
		var fatal bool
		var err error
		if same != nil {
			err = same(once, after)
			fatal = errors.Is(err, scu.ErrOtherLog)
		}
		if err == nil {
			fatal, err = b.followOnce(once, stream, open, cancel, &after, f)
		}
		cause := context.Cause(once)
		cancel(nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case fatal:
			return err
		case cause == errReconnected:
			continue
		}
		b.log.Warn("reading a stream, starting over", "stream", stream, "after", after, "error", cmp.Or(cause, err))
		awaitRetry(ctx, reconnected)
	}
}

// awaitRetry waits a moment before something is tried again that failed, or until the connection is
// there again or ctx ends.
func awaitRetry(ctx context.Context, reconnected <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-reconnected:
	case <-time.After(retryWait):
	}
}

// heartbeat is how often the server says that it has nothing. A cluster can lose the first
// pull of a consumer that was just made, which is noticed when two are missing; with the
// client's default that takes 30 s.
const heartbeat = time.Second

var errReconnected = errors.New("reconnected")

// followOnce follows with one consumer and advances after. fatal means that f failed.
func (b *Broker) followOnce(ctx context.Context, stream string, open opener, broken context.CancelCauseFunc, after *uint64, f func(uint64, string, []byte) error) (fatal bool, err error) {
	c, err := open(ctx, *after+1, broken)
	if err != nil {
		return false, err
	}
	defer func() { // else it goes by itself after a minute
		ctx, cancel := b.bound(context.WithoutCancel(ctx))
		go func() {
			defer cancel()
			b.js.DeleteConsumer(ctx, stream, c.CachedInfo().Name)
		}()
	}()
	messages, err := c.Messages(jetstream.PullMaxMessages(maxBatch), jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return false, err
	}
	defer messages.Stop()
	for n := uint64(1); ; n++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return false, err
		}
		seq, err := inTurn(m, n)
		if err != nil {
			return false, err
		}
		if err := f(seq, m.Subject(), m.Data()); err != nil {
			return true, err
		}
		*after = seq
	}
}

// inTurn returns the sequence in the stream of what came as the nth message of its consumer, and
// refuses it if another was lost before it.
func inTurn(m jetstream.Msg, n uint64) (seq uint64, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return 0, err
	}
	if meta.Sequence.Consumer != n {
		return 0, scu.Errorf(scu.CodeUnavailable, "message %d of the consumer came, not %d", meta.Sequence.Consumer, n)
	}
	return meta.Sequence.Stream, nil
}

// reader makes a consumer.
func (b *Broker) reader(ctx context.Context, stream string, config jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	return b.js.CreateConsumer(ctx, stream, config)
}

// readerConfig is that of a passing consumer that delivers each message once, from a sequence on,
// if its subject matches; filter "" is all.
func readerConfig(filter string, from uint64) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		FilterSubject:     filter,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	}
}

// present calls f with each message that a stream has now, from a sequence on, if its subject
// matches filter; of each with the headers and the size alone, if headersOnly.
func (b *Broker) present(ctx context.Context, stream, filter string, from uint64, headersOnly bool, f func(seq uint64, m jetstream.Msg) error) error {
	config := readerConfig(filter, from)
	config.HeadersOnly = headersOnly
	c, err := b.reader(ctx, stream, config)
	if err != nil {
		return fault(err, "read stream %s", stream)
	}
	defer b.try(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return b.js.DeleteConsumer(ctx, stream, c.CachedInfo().Name)
	})
	atOnce := maxBatch
	if !headersOnly {
		atOnce = followerRoom // f may wait for a slow client meanwhile
	}
	n := uint64(1) // of the message that comes next
	for left := int(c.CachedInfo().NumPending); left > 0; {
		batch, err := c.Fetch(min(left, atOnce), jetstream.FetchMaxWait(b.opts.timeout))
		if err != nil {
			return fault(err, "read stream %s", stream)
		}
		came := 0
		for m := range batch.Messages() {
			seq, err := inTurn(m, n) // what comes after FetchMaxWait is lost
			if err == nil {
				err = f(seq, m)
			}
			if err != nil {
				return fault(err, "read stream %s", stream)
			}
			n++
			came++
		}
		if came == 0 {
			return scu.Errorf(scu.CodeUnavailable, "read stream %s: %d entries did not come", stream, left)
		}
		left -= came
	}
	return nil
}
