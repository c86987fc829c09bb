package broker

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// presenceTTL is how long a trainer counts as there after it last said so.
const presenceTTL = 15 * time.Second

// Announce tells that a trainer is there. It counts for 15 s, so a trainer calls
// it every 5 s and when its job changes.
func (b *Broker) Announce(ctx context.Context, p scu.Presence) error {
	if !scu.ValidTrainer(p.Trainer) {
		return invalid("trainer name", p.Trainer)
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	data, err := json.Marshal(p)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode presence: %w", err)
	}
	kv, err := b.js.KeyValue(ctx, presenceBucket)
	if err != nil {
		return fault(err, "announce trainer %s", p.Trainer)
	}
	_, err = kv.Put(ctx, p.Trainer, data)
	return fault(err, "announce trainer %s", p.Trainer)
}

// Trainers lists the trainers that are there, by name.
func (b *Broker) Trainers(ctx context.Context) ([]scu.Presence, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, presenceBucket)
	if err != nil {
		return nil, fault(err, "list trainers")
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return nil, fault(err, "list trainers")
	}
	defer w.Stop()
	all := []scu.Presence{}
	for {
		select {
		case e := <-w.Updates():
			if e == nil { // all there was
				slices.SortFunc(all, func(a, b scu.Presence) int { return strings.Compare(a.Trainer, b.Trainer) })
				return all, nil
			}
			var p scu.Presence
			if err := json.Unmarshal(e.Value(), &p); err != nil || p.Trainer != e.Key() {
				continue
			}
			p.Seen = e.Created().UTC()
			all = append(all, p)
		case <-ctx.Done():
			return nil, scu.Errorf(scu.CodeUnavailable, "list trainers: %w", ctx.Err())
		}
	}
}
