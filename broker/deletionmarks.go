package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// What a mark says, in the words of versions that called it otherwise: they run beside this one.
const (
	markSet   = "condemned" // it is about to be deleted
	markGoing = "going"     // its deletion has begun
	markGone  = "gone"      // a tombstone: it is done
)

// deletionMarkTTL ends a mark whose process died, and a tombstone.
const deletionMarkTTL = 10 * time.Minute

// MarkForDeletion: see [scu.DeletionMarks].
func (b *Broker) MarkForDeletion(ctx context.Context, id string) (mark uint64, err error) {
	err = b.deletionMarks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		mark, err = kv.Create(ctx, id, []byte(markSet))
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
		e, err := kv.Get(ctx, id)
		if err == nil {
			mark = e.Revision()
		}
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil // it was unmarked meanwhile: 0 is no mark
		}
		return err
	})
	return mark, err
}

// BeginDeletion: see [scu.DeletionMarks].
func (b *Broker) BeginDeletion(ctx context.Context, id string, mark uint64) error {
	gone := scu.Errorf(scu.CodeConflict, "it is used again, or others delete it")
	return b.deletionMarks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		e, err := kv.Get(ctx, id)
		if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && (string(e.Value()) != markSet || e.Revision() != mark) {
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

// EndDeletion: see [scu.DeletionMarks].
func (b *Broker) EndDeletion(ctx context.Context, id string) error {
	return b.deletionMarks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.PutString(ctx, id, markGone)
		return err
	})
}

// ForgetDeletion: see [scu.DeletionMarks].
func (b *Broker) ForgetDeletion(ctx context.Context, id string) error {
	return b.deletionMarks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error { return kv.Purge(ctx, id) })
}

// Unmark: see [scu.DeletionMarks].
func (b *Broker) Unmark(ctx context.Context, id string) error { return b.unmark(ctx, []string{id}) }

// unmark takes the marks off files that are about to be used.
func (b *Broker) unmark(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if !scu.ValidFileID(id) {
			continue
		}
		going := scu.Errorf(scu.CodeUnavailable, "file %s is being deleted", id).WithHint("upload it again")
		err := b.deletionMarks(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
			e, err := kv.Get(ctx, id)
			switch {
			case errors.Is(err, jetstream.ErrKeyNotFound):
				return nil
			case err != nil:
				return err
			case string(e.Value()) == markGone:
				return scu.Errorf(scu.CodeConflict, "file %s was deleted", id).WithHint("upload it again")
			case string(e.Value()) != markSet:
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

func (b *Broker) deletionMarks(ctx context.Context, f func(context.Context, jetstream.KeyValue) error) error {
	return fault(b.bucket(ctx, deletionMarksBucket, f), "marks of files")
}
