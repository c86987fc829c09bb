package broker

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// bucket calls f with a key-value bucket, in bounded time.
func (b *Broker) bucket(ctx context.Context, name string, f func(context.Context, jetstream.KeyValue) error) error {
	return b.try(ctx, func(ctx context.Context) error {
		kv, err := b.js.KeyValue(ctx, name)
		if err != nil {
			return err
		}
		return f(ctx, kv)
	})
}

// entries calls take with every entry that a bucket has now.
func entries(ctx context.Context, kv jetstream.KeyValue, take func(jetstream.KeyValueEntry) error) error {
	return entriesOf(ctx, kv, jetstream.AllKeys, take)
}

// entriesOf calls take with the entries that a bucket has now under keys of a pattern.
func entriesOf(ctx context.Context, kv jetstream.KeyValue, pattern string, take func(jetstream.KeyValueEntry) error) error {
	w, err := kv.Watch(ctx, pattern, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case e := <-w.Updates():
			if e == nil { // all there was
				return nil
			}
			if err := take(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
