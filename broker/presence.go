package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// presenceTTL is how long a trainer counts as alive after its last announcement.
const presenceTTL = 15 * time.Second

// Announce says that a trainer is alive. It counts for 15 s, so a trainer calls
// it every 5 s and when its job changes.
func (b *Broker) Announce(ctx context.Context, p scu.Presence) error {
	if !scu.ValidTrainer(p.Trainer) {
		return invalid("trainer name", p.Trainer)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode presence: %w", err)
	}
	err = b.bucket(ctx, presenceBucket, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Put(ctx, p.Trainer, data)
		return err
	})
	return fault(err, "announce trainer %s", p.Trainer)
}

// Trainer returns a trainer's last announcement; CodeNotFound if it isn't alive.
func (b *Broker) Trainer(ctx context.Context, name string) (scu.Presence, error) {
	if !scu.ValidTrainer(name) {
		return scu.Presence{}, invalid("trainer name", name)
	}
	var e jetstream.KeyValueEntry
	err := b.bucket(ctx, presenceBucket, func(ctx context.Context, kv jetstream.KeyValue) (err error) {
		e, err = kv.Get(ctx, name)
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return scu.Presence{}, fault(err, "look for trainer %s", name)
	}
	if err == nil {
		if p, ok := presence(e); ok {
			return p, nil
		}
	}
	return scu.Presence{}, scu.Errorf(scu.CodeNotFound, "trainer %s isn't there", name)
}

// presence reads a trainer's announcement.
func presence(e jetstream.KeyValueEntry) (p scu.Presence, ok bool) {
	if err := json.Unmarshal(e.Value(), &p); err != nil || p.Trainer != e.Key() {
		return p, false
	}
	p.Seen = e.Created().UTC()
	return p, true
}

// Trainers lists the live trainers, by name.
func (b *Broker) Trainers(ctx context.Context) ([]scu.Presence, error) {
	all := []scu.Presence{}
	err := b.bucket(ctx, presenceBucket, func(ctx context.Context, kv jetstream.KeyValue) error {
		return b.entries(ctx, kv, func(e jetstream.KeyValueEntry) error {
			if p, ok := presence(e); ok {
				all = append(all, p)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fault(err, "list trainers")
	}
	slices.SortFunc(all, func(a, b scu.Presence) int { return strings.Compare(a.Trainer, b.Trainer) })
	return all, nil
}
