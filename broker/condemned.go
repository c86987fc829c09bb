package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// What a mark says.
const (
	markCondemned = "condemned"
	markGoing     = "going" // its deletion has begun
	markGone      = "gone"  // and is done
)

// condemnedTTL ends a mark whose process died.
const condemnedTTL = 10 * time.Minute

// Condemn: see [scu.Condemned].
func (b *Broker) Condemn(ctx context.Context, id string) (mark uint64, err error) {
	err = b.condemned(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		mark, err = kv.Create(ctx, id, []byte(markCondemned))
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
		e, err := kv.Get(ctx, id)
		if err == nil {
			mark = e.Revision()
		}
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil // it was rescued meanwhile: 0 is no mark
		}
		return err
	})
	return mark, err
}

// Execute: see [scu.Condemned].
func (b *Broker) Execute(ctx context.Context, id string, mark uint64) error {
	gone := scu.Errorf(scu.CodeConflict, "it is used again, or others delete it")
	return b.condemned(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		e, err := kv.Get(ctx, id)
		if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && (string(e.Value()) != markCondemned || e.Revision() != mark) {
			return gone
		}
		if err == nil {
			_, err = kv.Update(ctx, id, []byte(markGoing), mark)
		}
		if outrun(err) {
			return gone
		}
		return err
	})
}

// Buried: see [scu.Condemned].
func (b *Broker) Buried(ctx context.Context, id string) error {
	return b.condemned(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.PutString(ctx, id, markGone)
		return err
	})
}

// Reborn: see [scu.Condemned].
func (b *Broker) Reborn(ctx context.Context, id string) error {
	return b.condemned(ctx, func(ctx context.Context, kv jetstream.KeyValue) error { return kv.Purge(ctx, id) })
}

// Rescue: see [scu.Condemned].
func (b *Broker) Rescue(ctx context.Context, id string) error { return b.rescue(ctx, []string{id}) }

// rescue takes the marks off files that are about to be used.
func (b *Broker) rescue(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if !scu.ValidFileID(id) {
			continue
		}
		going := scu.Errorf(scu.CodeUnavailable, "file %s is being deleted", id).WithHint("upload it again")
		err := b.condemned(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
			e, err := kv.Get(ctx, id)
			switch {
			case errors.Is(err, jetstream.ErrKeyNotFound):
				return nil
			case err != nil:
				return err
			case string(e.Value()) == markGone:
				return scu.Errorf(scu.CodeConflict, "file %s was deleted", id).WithHint("upload it again")
			case string(e.Value()) != markCondemned:
				return going
			}
			if err = kv.Delete(ctx, id, jetstream.LastRevision(e.Revision())); outrun(err) {
				return going
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) condemned(ctx context.Context, f func(context.Context, jetstream.KeyValue) error) error {
	return fault(b.bucket(ctx, condemnedBucket, f), "marks of files")
}
