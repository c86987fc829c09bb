package broker

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// <file>.<owner> holds a file as its owner has it; files that nobody had before there were
// owners are the administrator's from when this entry stands.
const adoptedEntry = "adopted"

// ownerToken is an owner as a part of a subject.
func ownerToken(owner string) string {
	return "o" + base64.RawURLEncoding.EncodeToString([]byte(owner))
}

func ofToken(token string) (owner string, ok bool) {
	token, ok = strings.CutPrefix(token, "o")
	b, err := base64.RawURLEncoding.DecodeString(token)
	return string(b), ok && err == nil
}

func holderEntry(owner, id string) string { return id + "." + ownerToken(owner) }

// HoldFile notes that an owner has a file; see [scu.FileHolders].
func (b *Broker) HoldFile(ctx context.Context, owner string, f scu.File) error {
	if !scu.ValidFileID(f.ID) {
		return invalid("file id", f.ID)
	}
	data, err := json.Marshal(f)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode file %s: %w", f.ID, err)
	}
	return b.holders(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Put(ctx, holderEntry(owner, f.ID), data)
		return err
	})
}

// HeldFile returns a file as its owner has it; see [scu.FileHolders].
func (b *Broker) HeldFile(ctx context.Context, owner, id string) (f scu.File, err error) {
	if !scu.ValidFileID(id) {
		return f, noFile(id)
	}
	err = b.holders(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		e, err := entryOf(ctx, kv, holderEntry(owner, id), noFile(id))
		if err != nil {
			return err
		}
		f, err = decodeHeld(e)
		return err
	})
	return f, err
}

// HeldFiles lists an owner's files; see [scu.FileHolders].
func (b *Broker) HeldFiles(ctx context.Context, owner string) (all []scu.File, err error) {
	err = b.holders(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return b.entriesOf(ctx, kv, "*."+ownerToken(owner), func(e jetstream.KeyValueEntry) error {
			f, err := decodeHeld(e)
			all = append(all, f)
			return err
		})
	})
	slices.SortFunc(all, func(a, b scu.File) int { return cmp.Compare(a.ID, b.ID) })
	return all, err
}

// ReleaseFile takes a file from an owner; see [scu.FileHolders].
func (b *Broker) ReleaseFile(ctx context.Context, owner, id string) error {
	if !scu.ValidFileID(id) {
		return noFile(id)
	}
	return b.holders(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return kv.Purge(ctx, holderEntry(owner, id))
	})
}

// HoldersOf lists the owners that have a file; see [scu.FileHolders].
func (b *Broker) HoldersOf(ctx context.Context, id string) (all []string, err error) {
	if !scu.ValidFileID(id) {
		return nil, noFile(id)
	}
	err = b.holders(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return b.entriesOf(ctx, kv, id+".*", func(e jetstream.KeyValueEntry) error {
			if owner, ok := ofToken(e.Key()[len(id)+1:]); ok {
				all = append(all, owner)
			}
			return nil
		})
	})
	return all, err
}

// AdoptFiles gives the administrator what has no owner, once; see [scu.FileHolders].
func (b *Broker) AdoptFiles(ctx context.Context, list func(ctx context.Context, after string) (page []scu.File, more bool, err error)) error {
	done := false
	err := b.holders(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Get(ctx, adoptedEntry)
		if done = err == nil; errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		return err
	})
	if done || err != nil {
		return err
	}
	for after, more := "", true; more; {
		var page []scu.File
		if page, more, err = list(ctx, after); err != nil {
			return err
		}
		for _, f := range page {
			switch owners, err := b.HoldersOf(ctx, f.ID); {
			case err != nil:
				return err
			case len(owners) == 0:
				if err := b.HoldFile(ctx, "", f); err != nil {
					return err
				}
			}
			after = f.ID
		}
	}
	return b.holders(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.PutString(ctx, adoptedEntry, "yes")
		return err
	})
}

// decodeHeld reads an entry. The file is the one that the entry's name says.
func decodeHeld(e jetstream.KeyValueEntry) (f scu.File, err error) {
	if err := json.Unmarshal(e.Value(), &f); err != nil || !strings.HasPrefix(e.Key(), f.ID+".") {
		return f, scu.Errorf(scu.CodeInternal, "the owner of file %.64s can't be read", e.Key())
	}
	return f, nil
}

// holders calls f with the bucket of files' owners, in bounded time.
func (b *Broker) holders(ctx context.Context, f func(context.Context, jetstream.KeyValue) error) error {
	return fault(b.bucket(ctx, holdersBucket, f), "owners of files")
}

func noFile(id string) error {
	return scu.Errorf(scu.CodeNotFound, "no file %.64q", id)
}
