package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// maxBatch is the most entries that Events hands over at once.
const maxBatch = 1000

// Batch is a run of consecutive entries of the two streams, each in its order.
// Between the streams there is no order: metrics may come before the entry that
// started their attempt.
type Batch struct {
	State   []StateEntry
	Metrics []MetricsEntry
	// LastState and LastMetrics are the sequences that the streams are read to
	// with this batch, entries that can't be read included: where to go on.
	LastState, LastMetrics uint64
	Unreadable             int // entries that can't be read; each is logged
}

// StateEntry is one entry of the state log.
type StateEntry struct {
	Seq   uint64 // in the log, from 1
	Event scu.Event
}

// MetricsEntry is one step's metrics. A step may come twice: the key is (job,
// attempt, step).
type MetricsEntry struct {
	Seq     uint64 // in the metrics stream, from 1
	Metrics scu.Metrics
}

// Events calls batch with every entry after the given sequences, which are the
// last ones already dealt with (0: none), in order, then with new ones as they
// come: up to 1,000 at once, or what there is as soon as there is anything. It
// goes on over reconnects and restarts of the server, until ctx ends or batch
// fails, and returns why. Where the streams end before the given sequences,
// CodeConflict: they are not the ones that the sequences are of.
func (b *Broker) Events(ctx context.Context, afterState, afterMetrics uint64, batch func(Batch) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	entries := make(chan entry, 2*maxBatch)
	read := func(stream string, after uint64, parse func(uint64, []byte) (entry, error)) {
		if err := b.reaches(ctx, stream, after); err != nil {
			cancel(err)
			return
		}
		err := b.follow(ctx, stream, "", after, func(seq uint64, data []byte) error {
			e, err := parse(seq, data)
			if err != nil {
				b.log.Error("unreadable entry", "stream", stream, "sequence", seq, "error", err)
			}
			select {
			case entries <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		cancel(err)
	}
	go read(stateStream, afterState, parseState)
	go read(metricsStream, afterMetrics, parseMetrics)

	for {
		next := Batch{LastState: afterState, LastMetrics: afterMetrics}
		select {
		case e := <-entries:
			e.addTo(&next)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for more := true; more && len(next.State)+len(next.Metrics) < maxBatch; {
			select {
			case e := <-entries:
				e.addTo(&next)
			default:
				more = false
			}
		}
		if err := batch(next); err != nil {
			return err
		}
		afterState, afterMetrics = next.LastState, next.LastMetrics
	}
}

// reaches waits for the server to say how far a stream goes, and refuses a
// position beyond it.
func (b *Broker) reaches(ctx context.Context, name string, after uint64) error {
	for {
		var info *jetstream.StreamInfo
		s, err := b.stream(ctx, name)
		if err == nil {
			err = b.try(ctx, func(ctx context.Context) error { info, err = s.Info(ctx); return err })
		}
		switch {
		case err == nil && info.State.LastSeq < after:
			return scu.Errorf(scu.CodeConflict, "stream %s ends at %d, before %d", name, info.State.LastSeq, after).
				WithHint("the read model is of other streams; rebuild it")
		case err == nil:
			return nil
		}
		b.log.Warn("reading a stream, starting over", "stream", name, "after", after, "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryWait):
		}
	}
}

// entry is one message of either stream; neither pointer is set where it could
// not be read.
type entry struct {
	seq      uint64
	isMetric bool
	state    *scu.Event
	metrics  *scu.Metrics
}

func parseState(seq uint64, data []byte) (entry, error) {
	e := new(scu.Event)
	if err := json.Unmarshal(data, e); err != nil {
		return entry{seq: seq}, err
	}
	return entry{seq: seq, state: e}, nil
}

func parseMetrics(seq uint64, data []byte) (entry, error) {
	m := new(scu.Metrics)
	if err := json.Unmarshal(data, m); err != nil {
		return entry{seq: seq, isMetric: true}, err
	}
	return entry{seq: seq, isMetric: true, metrics: m}, nil
}

func (e entry) addTo(b *Batch) {
	if e.isMetric {
		b.LastMetrics = e.seq
	} else {
		b.LastState = e.seq
	}
	if e.state != nil {
		b.State = append(b.State, StateEntry{e.seq, *e.state})
	}
	if e.metrics != nil {
		b.Metrics = append(b.Metrics, MetricsEntry{e.seq, *e.metrics})
	}
	if e.state == nil && e.metrics == nil {
		b.Unreadable++
	}
}

// End returns the sequences of the newest entries of the two streams, 0 where
// there is none: what Events has read to when nothing more is there.
func (b *Broker) End(ctx context.Context) (state, metrics uint64, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	for name, end := range map[string]*uint64{stateStream: &state, metricsStream: &metrics} {
		s, err := b.stream(ctx, name)
		if err != nil {
			return 0, 0, err
		}
		info, err := s.Info(ctx)
		if err != nil {
			return 0, 0, fault(err, "stream %s", name)
		}
		if info.State.Msgs > 0 {
			*end = info.State.LastSeq
		}
	}
	return state, metrics, nil
}

// follow calls f with each message of a stream after a sequence, in order and
// once, until ctx ends or f fails; filter "" is all. Whatever breaks below is set
// up again from where it was.
//
// It is not jetstream's OrderedConsumer, whose resets wait out long timeouts on a
// connection that broke and don't end with a context.
func (b *Broker) follow(ctx context.Context, stream, filter string, after uint64, f func(seq uint64, data []byte) error) error {
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
		fatal, err := b.followOnce(once, stream, filter, &after, f)
		again := context.Cause(once) == errReconnected
		cancel(nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case fatal:
			return err
		case again:
			continue
		}
		b.log.Warn("reading a stream, starting over", "stream", stream, "after", after, "error", err)
		select {
		case <-ctx.Done():
		case <-reconnected:
		case <-time.After(retryWait):
		}
	}
}

var errReconnected = errors.New("reconnected")

// followOnce follows with one consumer and moves after on. fatal says that f
// failed.
func (b *Broker) followOnce(ctx context.Context, stream, filter string, after *uint64, f func(uint64, []byte) error) (fatal bool, err error) {
	c, err := b.reader(ctx, stream, filter, *after+1)
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
	messages, err := c.Messages(jetstream.PullMaxMessages(maxBatch), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return false, err
	}
	defer messages.Stop()
	for n := uint64(1); ; n++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return false, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return false, err
		}
		if meta.Sequence.Consumer != n {
			return false, fmt.Errorf("message %d of the consumer came, not %d", meta.Sequence.Consumer, n)
		}
		if err := f(meta.Sequence.Stream, m.Data()); err != nil {
			return true, err
		}
		*after = meta.Sequence.Stream
	}
}

// reader makes a passing consumer that delivers each message once, from a
// sequence on.
func (b *Broker) reader(ctx context.Context, stream, filter string, from uint64) (jetstream.Consumer, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	return b.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		FilterSubject:     filter,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	})
}
