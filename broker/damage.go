package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Damaged blobs: blob.<kind>.<name> holds a report, verification how far the reading of all
// of them is.
const (
	damageEntry       = "blob."
	verificationEntry = "verification"
)

func damagedEntry(key scu.BlobKey) string { return damageEntry + string(key.Kind) + "." + key.Name }

// ReportDamage notes that a blob is damaged; see [scu.DamageReports].
func (b *Broker) ReportDamage(ctx context.Context, d scu.Damage) error {
	if err := d.Key().Check(); err != nil {
		return err
	}
	data, err := json.Marshal(d)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode what is known of %s: %w", d.Key(), err)
	}
	return b.damage(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Put(ctx, damagedEntry(d.Key()), data)
		return err
	})
}

// ClearDamage notes that a blob is whole; see [scu.DamageReports].
func (b *Broker) ClearDamage(ctx context.Context, key scu.BlobKey) error {
	if err := key.Check(); err != nil {
		return err
	}
	return b.damage(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return kv.Purge(ctx, damagedEntry(key))
	})
}

// Damaged lists what is damaged; see [scu.DamageReports].
func (b *Broker) Damaged(ctx context.Context) (all []scu.Damage, err error) {
	err = b.damage(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return b.entriesOf(ctx, kv, damageEntry+">", func(e jetstream.KeyValueEntry) error {
			var d scu.Damage
			if err := json.Unmarshal(e.Value(), &d); err != nil || damagedEntry(d.Key()) != e.Key() {
				return scu.Errorf(scu.CodeInternal, "what is known of the blob %.200s can't be read", e.Key())
			}
			all = append(all, d)
			return nil
		})
	})
	slices.SortFunc(all, func(a, b scu.Damage) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
	})
	return all, err
}

// Verification returns the newest reading of all blobs; see [scu.DamageReports].
func (b *Broker) Verification(ctx context.Context) (v scu.Verification, revision uint64, err error) {
	err = b.damage(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		e, err := kv.Get(ctx, verificationEntry)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		revision = e.Revision()
		return json.Unmarshal(e.Value(), &v)
	})
	return v, revision, err
}

// UpdateVerification replaces it; see [scu.DamageReports].
func (b *Broker) UpdateVerification(ctx context.Context, v scu.Verification, revision uint64) (next uint64, err error) {
	data, err := json.Marshal(v)
	if err != nil {
		return 0, scu.Errorf(scu.CodeInternal, "encode how far the verification is: %w", err)
	}
	err = b.damage(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		next, err = kv.Update(ctx, verificationEntry, data, revision) // of revision 0: it creates
		if outrun(err) {
			return scu.Errorf(scu.CodeConflict, "another process verifies the stored blobs")
		}
		return err
	})
	return next, err
}

func (b *Broker) damage(ctx context.Context, f func(context.Context, jetstream.KeyValue) error) error {
	return fault(b.bucket(ctx, damageBucket, f), "reports of damage")
}
