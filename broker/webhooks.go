package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

const (
	noticeTime     = time.Minute     // in which an entry that was handed over must be dealt with
	noticesAtOnce  = 8               // of a webhook
	noticesWaiting = 10_000          // of a webhook, to be handed over again
	noticePull     = 5 * time.Second // of one request for entries
	keptDeliveries = 500             // of a webhook
	deliveryAge    = 30 * 24 * time.Hour
)

// webhookConsumer is the durable place of a webhook in the log.
func webhookConsumer(id string) string { return "webhook-" + id }

func deliverySubject(id string) string { return "scu.delivery." + id }

// AddWebhook keeps a webhook, which is told of what comes from now on.
func (b *Broker) AddWebhook(ctx context.Context, w scu.Webhook) error {
	if !scu.ValidJobID(w.ID) {
		return invalid("webhook id", w.ID)
	}
	return b.webhooks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		data, err := json.Marshal(w)
		if err != nil {
			return err
		}
		_, err = b.js.CreateOrUpdateConsumer(ctx, stateStream, jetstream.ConsumerConfig{
			Durable: webhookConsumer(w.ID), DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: noticeTime, MaxAckPending: noticesWaiting, MaxDeliver: -1, FilterSubject: "scu.state.>",
		})
		if err != nil {
			return err
		}
		_, err = kv.Create(ctx, w.ID, data)
		return err
	})
}

// Webhook returns a webhook; see [scu.Webhooks].
func (b *Broker) Webhook(ctx context.Context, id string) (w scu.Webhook, err error) {
	if !scu.ValidJobID(id) {
		return w, noWebhook(id)
	}
	err = b.webhooks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		e, err := entryOf(ctx, kv, id, noWebhook(id))
		if err != nil {
			return err
		}
		return json.Unmarshal(e.Value(), &w)
	})
	return w, err
}

// Webhooks lists all webhooks; see [scu.Webhooks].
func (b *Broker) Webhooks(ctx context.Context) (all []scu.Webhook, err error) {
	err = b.webhooks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return b.entries(ctx, kv, func(e jetstream.KeyValueEntry) error {
			var w scu.Webhook
			if err := json.Unmarshal(e.Value(), &w); err != nil {
				return err
			}
			all = append(all, w)
			return nil
		})
	})
	slices.SortFunc(all, func(a, b scu.Webhook) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all, err
}

// RemoveWebhook removes a webhook with its place in the log and its deliveries.
func (b *Broker) RemoveWebhook(ctx context.Context, id string) error {
	if _, err := b.Webhook(ctx, id); err != nil {
		return err
	}
	return b.webhooks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		// The entry goes last: as long as it is there, the rest can be removed again.
		if err := b.js.DeleteConsumer(ctx, stateStream, webhookConsumer(id)); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
		s, err := b.stream(ctx, deliveriesStream)
		if err != nil {
			return err
		}
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(deliverySubject(id))); err != nil {
			return err
		}
		return kv.Purge(ctx, id)
	})
}

// Notices hands over a webhook's entries; see [scu.Webhooks].
func (b *Broker) Notices(ctx context.Context, id string, deal func(context.Context, scu.Notice) time.Duration) error {
	c, err := b.js.Consumer(ctx, stateStream, webhookConsumer(id))
	if err != nil {
		return fault(err, "follow the log for webhook %s", id)
	}
	var working sync.WaitGroup
	defer working.Wait()
	free := make(chan struct{}, noticesAtOnce)
	entries, err := c.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(noticePull))
	if err != nil {
		return fault(err, "follow the log for webhook %s", id)
	}
	defer entries.Stop()
	defer context.AfterFunc(ctx, entries.Stop)()
	for {
		m, err := entries.Next()
		if ctx.Err() != nil {
			return ctx.Err() // what it holds is handed over again
		}
		if err != nil {
			return fault(err, "follow the log for webhook %s", id)
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		working.Go(func() {
			defer func() { <-free }()
			b.notice(ctx, m, deal)
		})
	}
}

// notice has one entry dealt with.
func (b *Broker) notice(ctx context.Context, m jetstream.Msg, deal func(context.Context, scu.Notice) time.Duration) {
	meta, err := m.Metadata()
	if err != nil {
		return // not of JetStream
	}
	var e scu.Event
	if err := json.Unmarshal(m.Data(), &e); err != nil || e.Type == "" { // a probe
		m.Ack()
		return
	}
	again := deal(ctx, scu.Notice{Entry: scu.LogEntry{Seq: meta.Sequence.Stream, Event: e}, Try: int(meta.NumDelivered)})
	if again > 0 {
		err = m.NakWithDelay(again)
	} else { // dealt with, though the caller may end
		ack, cancel := b.bound(context.WithoutCancel(ctx))
		defer cancel()
		err = m.DoubleAck(ack)
	}
	if err != nil {
		b.log.Warn("a webhook's entry may be handed over twice", "entry", meta.Sequence.Stream, "error", err)
	}
}

// AddDelivery notes a try; see [scu.Webhooks].
func (b *Broker) AddDelivery(ctx context.Context, d scu.Delivery) error {
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	_, err = b.js.Publish(ctx, deliverySubject(d.WebhookID), data)
	return fault(err, "note a delivery")
}

// Deliveries lists a webhook's tries; see [scu.Webhooks].
func (b *Broker) Deliveries(ctx context.Context, id string, limit int) ([]scu.Delivery, error) {
	if _, err := b.Webhook(ctx, id); err != nil {
		return nil, err
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	all := []scu.Delivery{}
	newest, err := b.last(ctx, deliveriesStream, deliverySubject(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	whole := errors.New("all deliveries are read")
	err = b.follow(ctx, deliveriesStream, deliverySubject(id), 0, nil, func(seq uint64, _ string, data []byte) error {
		var d scu.Delivery
		if err := json.Unmarshal(data, &d); err != nil {
			return scu.Errorf(scu.CodeInternal, "a delivery can't be read: %w", err)
		}
		if all = append(all, d); seq >= newest.Sequence {
			return whole
		}
		return nil
	})
	if err != whole {
		return nil, fault(err, "list deliveries")
	}
	slices.Reverse(all)
	return all[:min(len(all), limit)], nil
}

func (b *Broker) webhooks(ctx context.Context, f func(context.Context, jetstream.KeyValue) error) error {
	return fault(b.bucket(ctx, webhooksBucket, f), "webhooks")
}

func noWebhook(id string) error { return scu.Errorf(scu.CodeNotFound, "no webhook %.64q", id) }
