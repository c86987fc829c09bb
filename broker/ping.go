package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// probeSubject is where the log is written to see whether it accepts anything. Each entry
// replaces the one before; readers skip it.
const probeSubject = "scu.state.probe"

var probeEntry = []byte(`{"type":"probe"}`)

// probeAge is how long a probe counts, so that frequent callers don't fill the log.
const probeAge = time.Second

// Ping writes to the log and asks for the other streams, and returns what the supervisor
// of this process last found wrong. CodeUnavailable if something gives no answer,
// CodeStorage if the server stores nothing.
func (b *Broker) Ping(ctx context.Context) error {
	if err := b.full(); err != nil {
		return err
	}
	if err := b.probe(ctx); err != nil {
		return err
	}
	for _, name := range []string{jobsStream, metricsStream} {
		info, err := b.existing(ctx, name)
		switch {
		case err != nil:
			return fault(err, "stream %s", name)
		case info == nil:
			return scu.Errorf(scu.CodeUnavailable, "stream %s is gone", name)
		case info.Cluster != nil && info.Cluster.Leader == "" && info.Config.Replicas > 1:
			return scu.Errorf(scu.CodeUnavailable, "stream %s has no leader", name)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var all error
	for _, err := range b.ailing {
		all = errors.Join(all, err)
	}
	return fault(all, "supervise the queue")
}

// probe writes to the log.
func (b *Broker) probe(ctx context.Context) error {
	b.mu.Lock()
	fresh := time.Since(b.probed) < probeAge
	b.mu.Unlock()
	if fresh {
		return nil
	}
	m := &nats.Msg{Subject: probeSubject, Data: probeEntry, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
	if _, err := b.publish(ctx, m); err != nil {
		return fault(err, "write to the log")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probed = time.Now()
	return nil
}

// found notes what the supervisor found wrong with a part; nil means that it works.
func (b *Broker) found(part string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.ailing, part)
	} else {
		b.ailing[part] = err
	}
}
