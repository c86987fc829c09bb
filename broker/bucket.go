package broker

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// bucket calls f with a key-value bucket, in bounded time.
func (b *Broker) bucket(ctx context.Context, name string, f func(context.Context, jetstream.KeyValue) error) error {
	return b.try(ctx, func(ctx context.Context) error {
		kv, err := b.keyValue(ctx, name)
		if err != nil {
			return err
		}
		err = f(ctx, kv)
		var answered *scu.Error
		if err != nil && !errors.As(err, &answered) && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, jetstream.ErrKeyExists) && !outrun(err) {
			b.mu.Lock()
			delete(b.buckets, name) // it may be gone, or another
			b.mu.Unlock()
		}
		return err
	})
}

// keyValue returns the handle of a key-value bucket, asking the server once.
func (b *Broker) keyValue(ctx context.Context, name string) (jetstream.KeyValue, error) {
	b.mu.Lock()
	kv := b.buckets[name]
	b.mu.Unlock()
	if kv != nil {
		return kv, nil
	}
	kv, err := b.js.KeyValue(ctx, name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.buckets[name] = kv
	b.mu.Unlock()
	return kv, nil
}

// entryOf returns what a bucket has under a key; missing is the error if that is nothing.
func entryOf(ctx context.Context, kv jetstream.KeyValue, key string, missing error) (jetstream.KeyValueEntry, error) {
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, missing
	}
	return e, err
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
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the connection ended before the list did")
			}
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
