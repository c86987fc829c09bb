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
		return nil, b.missing(kvStreamPre+name, err)
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
// oldest first.
func (b *Broker) entriesOf(ctx context.Context, kv jetstream.KeyValue, pattern string, take func(jetstream.KeyValueEntry) error) error {
	all, err := b.list(ctx, kv, pattern)
	for _, e := range all {
		if err == nil && e.Operation() == jetstream.KeyValuePut {
			err = take(e)
		}
	}
	return err
}

// list lists what a bucket has now under keys of a pattern, entries and marks of deletions, the
// oldest first. In a cluster any replica may send it: one that is behind sends the rest a
// moment later, and until the newest that the leader has it is waited for.
func (b *Broker) list(ctx context.Context, kv jetstream.KeyValue, pattern string, opts ...jetstream.WatchOpt) ([]jetstream.KeyValueEntry, error) {
	newest, err := b.newestOf(ctx, kv, pattern)
	if err != nil || newest == 0 {
		return nil, err
	}
	w, err := kv.Watch(ctx, pattern, opts...)
	if err != nil {
		return nil, err
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
				return nil, errors.New("the connection ended before the list did")
			case e == nil: // all that the replica had
				whole = true
				continue
			}
			seen, found[e.Key()] = e.Revision(), e
		case <-look.C: // the newest may have expired
			now, err := b.newestOf(ctx, kv, pattern)
			if err != nil {
				return nil, err
			}
			newest = min(newest, now)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return slices.SortedFunc(maps.Values(found), byRevision), nil
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

// sweepMarks removes marks of deletions of an age, by the clock that dated them: NATS keeps them for
// ever, and they count towards the limits of their buckets. In some buckets they expire. An age of
// sweepAge is safe: lists read what is there, and who follows the API keys has seen the mark by then, or reads
// all of them anew.
func (b *Broker) sweepMarks(ctx context.Context, age time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	for _, c := range keyValues {
		if c.TTL > 0 || b.short.leftOut(kvStreamPre+c.Bucket) {
			continue
		}
		now, err := b.timeOf(ctx, kvStreamPre+c.Bucket)
		if err == nil {
			err = b.sweepMarksOf(ctx, c.Bucket, now.Add(-age))
		}
		if err != nil && ctx.Err() == nil { // the rest goes next time
			return fault(err, "remove marks of deletions from %s", c.Bucket)
		}
	}
	return nil
}

func (b *Broker) sweepMarksOf(ctx context.Context, bucket string, before time.Time) error {
	kv, err := b.keyValue(ctx, bucket)
	if err != nil {
		return err
	}
	s, err := b.stream(ctx, kvStreamPre+bucket)
	if err != nil {
		return err
	}
	all, err := b.list(ctx, kv, jetstream.AllKeys, jetstream.MetaOnly())
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Operation() == jetstream.KeyValuePut || e.Created().After(before) {
			continue
		}
		// Up to the mark: what was stored under its key since then stays.
		err := s.Purge(ctx, jetstream.WithPurgeSubject("$KV."+bucket+"."+e.Key()), jetstream.WithPurgeSequence(e.Revision()+1))
		if err != nil {
			return err
		}
	}
	return nil
}
