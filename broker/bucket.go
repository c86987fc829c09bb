package broker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

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
func (b *Broker) entries(ctx context.Context, kv jetstream.KeyValue, take func(jetstream.KeyValueEntry) error) error {
	return b.entriesOf(ctx, kv, jetstream.AllKeys, take)
}

// entriesOf calls take with the entries that a bucket has now under keys of a pattern, the
// oldest first. In a cluster any replica may send them: one that is behind sends the rest a
// moment later, and until the newest that the leader has it is waited for.
func (b *Broker) entriesOf(ctx context.Context, kv jetstream.KeyValue, pattern string, take func(jetstream.KeyValueEntry) error) error {
	newest, err := b.newestOf(ctx, kv, pattern)
	if err != nil || newest == 0 {
		return err
	}
	w, err := kv.Watch(ctx, pattern)
	if err != nil {
		return err
	}
	defer w.Stop()
	look := time.NewTicker(lookForStream)
	defer look.Stop()
	found := map[string]jetstream.KeyValueEntry{}
	for seen, whole := uint64(0), false; !whole || seen < newest; {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("the connection ended before the list did")
			case e == nil: // all that the replica had
				whole = true
				continue
			}
			seen = e.Revision()
			if delete(found, e.Key()); e.Operation() == jetstream.KeyValuePut {
				found[e.Key()] = e
			}
		case <-look.C: // the newest may have expired
			now, err := b.newestOf(ctx, kv, pattern)
			if err != nil {
				return err
			}
			newest = min(newest, now)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, e := range slices.SortedFunc(maps.Values(found), byRevision) {
		if err := take(e); err != nil {
			return err
		}
	}
	return nil
}

func byRevision(a, b jetstream.KeyValueEntry) int { return cmp.Compare(a.Revision(), b.Revision()) }

// newestOf is the revision of the newest entry, or mark of a deletion, under keys of a pattern;
// 0 if there is none.
func (b *Broker) newestOf(ctx context.Context, kv jetstream.KeyValue, pattern string) (uint64, error) {
	m, err := b.last(ctx, kvStreamPre+kv.Bucket(), "$KV."+kv.Bucket()+"."+pattern)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}
