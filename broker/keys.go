package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// API keys: key.<id> holds one, by its hash, and used.<id> when it was last used. No
// trainer's login reaches this bucket.
const (
	keyEntry  = "key."
	usedEntry = "used."
)

const (
	keysCheck  = time.Second // how often it is checked that nothing was missed
	keysBehind = 3           // checks after which what was missed is read anew
	// keysLapse is after how long without such a check all is read anew, as by a process that was
	// stopped: what it missed may be a mark that was swept meanwhile, after sweepAge.
	keysLapse = time.Minute
)

// keysMadeKey is in the log's metadata once an API key was made: it outlives the bucket.
const keysMadeKey = "scu_keys_made"

// KeysMade reports whether a key was ever made; see [scu.Keys].
func (b *Broker) KeysMade(ctx context.Context) (bool, error) {
	if b.keysMade.Load() {
		return true, nil
	}
	info, err := b.existing(ctx, stateStream)
	if err != nil {
		return false, fault(err, "API keys")
	}
	if info != nil && info.Config.Metadata[keysMadeKey] != "" {
		b.keysMade.Store(true)
	}
	return b.keysMade.Load(), nil
}

// rememberKeys notes in the log's metadata that a key was made. A log that is made anew is
// told by Setup.
func (b *Broker) rememberKeys(ctx context.Context) error {
	info, err := b.streamInfo(ctx, stateStream)
	if err == nil && info.Config.Metadata[keysMadeKey] == "" {
		c := info.Config
		c.Metadata = maps.Clone(c.Metadata)
		if c.Metadata == nil {
			c.Metadata = map[string]string{}
		}
		c.Metadata[keysMadeKey] = "yes"
		err = b.try(ctx, func(ctx context.Context) error { _, err := b.js.UpdateStream(ctx, c); return err })
	}
	if err != nil {
		return fault(err, "remember that there are API keys")
	}
	b.keysMade.Store(true)
	return nil
}

// AddKey keeps a new key; see [scu.Keys].
func (b *Broker) AddKey(ctx context.Context, k scu.Key) error {
	if !scu.ValidJobID(k.ID) {
		return invalid("key id", k.ID)
	}
	k.LastUsed = nil
	data, err := json.Marshal(k)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode key: %w", err)
	}
	add := func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Create(ctx, keyEntry+k.ID, data)
		return err
	}
	if err = b.apiKeys(ctx, add); errors.Is(err, jetstream.ErrBucketNotFound) { // no API could make it, or none has run yet
		i := slices.IndexFunc(keyValues, func(c jetstream.KeyValueConfig) bool { return c.Bucket == apiKeysBucket })
		if err = b.setUpKeyValue(ctx, keyValues[i]); err == nil {
			err = b.apiKeys(ctx, add)
		}
	}
	if err != nil {
		return err
	}
	// After it: the note without a key would lock everybody out. Each API that sees a key notes it too.
	if err := b.rememberKeys(ctx); err != nil {
		b.log.Warn("that there are API keys can't be noted now", "error", err)
	}
	return nil
}

// Key returns a key; see [scu.Keys].
func (b *Broker) Key(ctx context.Context, id string) (k scu.Key, err error) {
	if !scu.ValidJobID(id) {
		return k, noKey(id)
	}
	err = b.apiKeys(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		e, err := entryOf(ctx, kv, keyEntry+id, noKey(id))
		if err != nil {
			return err
		}
		k, err = decodeKey(e)
		return err
	})
	return k, err
}

// Keys lists all keys; see [scu.Keys].
func (b *Broker) Keys(ctx context.Context) ([]scu.Key, error) {
	t := newKeyTable()
	err := b.apiKeys(ctx, func(ctx context.Context, kv jetstream.KeyValue) error { return b.entries(ctx, kv, t.take) })
	return t.list(), err
}

// RemoveKey revokes a key; see [scu.Keys].
func (b *Broker) RemoveKey(ctx context.Context, id string) error {
	if _, err := b.Key(ctx, id); err != nil {
		return err
	}
	return b.apiKeys(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return errors.Join(kv.Purge(ctx, keyEntry+id), kv.Purge(ctx, usedEntry+id))
	})
}

// NoteKeyUse notes when a key was used; see [scu.Keys].
func (b *Broker) NoteKeyUse(ctx context.Context, id string, at time.Time) error {
	if !scu.ValidJobID(id) {
		return invalid("key id", id)
	}
	return b.apiKeys(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.PutString(ctx, usedEntry+id, at.UTC().Format(time.RFC3339))
		return err
	})
}

// WatchKeys follows the keys; see [scu.Keys]. A watch that is lost, or that missed
// something, begins anew.
func (b *Broker) WatchKeys(ctx context.Context, changed func(scu.KeyTable)) error {
	for {
		err := b.watchKeys(ctx, changed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.log.Warn("API keys are not followed now; trying again", "error", err)
		if err := scu.Sleep(ctx, keysCheck); err != nil {
			return err
		}
	}
}

func (b *Broker) watchKeys(ctx context.Context, changed func(scu.KeyTable)) error {
	var kv jetstream.KeyValue
	err := b.try(ctx, func(ctx context.Context) (err error) {
		kv, err = b.js.KeyValue(ctx, apiKeysBucket)
		return err
	})
	if err != nil {
		return err
	}
	first, bucket, err := b.newest(ctx, kvStreamPre+apiKeysBucket)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	tick := time.NewTicker(keysCheck)
	defer tick.Stop()
	t, whole, behind, noted := newKeyTable(), false, 0, false
	checked := time.Now()
	tell := func() error {
		all := t.list()
		if len(all) > 0 && !noted { // an older version made them, or took the note away
			if err := b.rememberKeys(ctx); err != nil {
				b.log.Warn("that there are API keys can't be noted; trying again", "error", err)
			} else {
				noted = true
			}
		}
		made, err := b.KeysMade(ctx)
		if err == nil {
			changed(scu.KeyTable{Keys: all, Made: made || len(all) > 0, Revision: t.seen})
		}
		return err
	}
	for {
		select {
		case e, ok := <-w.Updates():
			if lapsed(checked) {
				return errKeysLapsed
			}
			if !ok {
				return errors.New("the watch ended")
			}
			if e == nil { // all there was: what isn't, up to here, were marks that are swept
				whole, t.seen = true, max(t.seen, first)
			} else if err := t.take(e); err != nil {
				return err
			}
			if whole {
				if err := tell(); err != nil {
					return err
				}
			}
		case <-tick.C:
			if lapsed(checked) {
				return errKeysLapsed
			}
			last, now, err := b.newest(ctx, kvStreamPre+apiKeysBucket)
			switch {
			case err != nil:
				return err
			case !now.Equal(bucket):
				return errors.New("the bucket is gone, and another is in its place")
			case whole && t.seen >= last:
				behind, checked = 0, time.Now()
				if err := tell(); err != nil {
					return err
				}
			default:
				if behind++; behind == keysBehind {
					return errors.New("the watch is behind")
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errKeysLapsed = errors.New("the process was stopped for a while")

// lapsed reports whether a check is too long ago, by either clock: one of them stands still while
// the machine sleeps, and the other may be set.
func lapsed(checked time.Time) bool {
	return time.Since(checked) > keysLapse || time.Now().Round(0).Sub(checked.Round(0)) > keysLapse
}

// newest is the newest sequence that a stream has had, and when the stream was made, which
// tells it from another of its name.
func (b *Broker) newest(ctx context.Context, stream string) (last uint64, made time.Time, err error) {
	info, err := b.streamInfo(ctx, stream)
	if err != nil {
		return 0, time.Time{}, err
	}
	return info.State.LastSeq, info.Created, nil
}

// keyTable is what the bucket's entries come to.
type keyTable struct {
	keys map[string]scu.Key
	used map[string]time.Time
	seen uint64 // the newest entry
}

func newKeyTable() *keyTable {
	return &keyTable{keys: map[string]scu.Key{}, used: map[string]time.Time{}}
}

// take takes an entry in. One that can't be read is no key: it lets nobody in.
func (t *keyTable) take(e jetstream.KeyValueEntry) error {
	t.seen = max(t.seen, e.Revision())
	gone := e.Operation() != jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(e.Key(), usedEntry); ok {
		at, err := time.Parse(time.RFC3339, string(e.Value()))
		if delete(t.used, id); err == nil && !gone {
			t.used[id] = at
		}
	} else if id, ok := strings.CutPrefix(e.Key(), keyEntry); ok {
		delete(t.keys, id)
		if k, err := decodeKey(e); err == nil && !gone {
			t.keys[id] = k
		}
	}
	return nil
}

// list lists the keys, the oldest first.
func (t *keyTable) list() []scu.Key {
	all := slices.SortedFunc(maps.Values(t.keys), func(a, b scu.Key) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for i := range all {
		if at, ok := t.used[all[i].ID]; ok {
			all[i].LastUsed = &at
		}
	}
	return all
}

// decodeKey reads an entry. The key is the one that the entry's name says.
func decodeKey(e jetstream.KeyValueEntry) (k scu.Key, err error) {
	if err := json.Unmarshal(e.Value(), &k); err != nil || keyEntry+k.ID != e.Key() || k.Hash == "" {
		return scu.Key{}, scu.Errorf(scu.CodeInternal, "API key %.40s can't be read", e.Key())
	}
	k.Revision = e.Revision()
	return k, nil
}

// apiKeys calls f with the bucket of API keys, in bounded time.
func (b *Broker) apiKeys(ctx context.Context, f func(context.Context, jetstream.KeyValue) error) error {
	return fault(b.bucket(ctx, apiKeysBucket, f), "API keys")
}

func noKey(id string) error { return scu.Errorf(scu.CodeNotFound, "no API key %.64q", id) }
