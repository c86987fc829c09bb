package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// CreateComparison stores a new comparison; see [scu.Comparisons].
func (b *Broker) CreateComparison(ctx context.Context, c scu.Comparison) error {
	if !scu.ValidJobID(c.ID) {
		return invalid("comparison id", c.ID)
	}
	return b.comparison(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		data, err := b.encodeComparison(c)
		if err != nil {
			return err
		}
		if _, err = kv.Create(ctx, c.ID, data); errors.Is(err, jetstream.ErrKeyExists) {
			return scu.Errorf(scu.CodeConflict, "comparison %s is there already", c.ID)
		}
		return err
	})
}

// Comparison returns a comparison; see [scu.Comparisons].
func (b *Broker) Comparison(ctx context.Context, id string) (c scu.Comparison, err error) {
	err = b.comparison(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		c, _, err = readComparison(ctx, kv, id)
		return err
	})
	return c, err
}

// ChangeComparison changes a comparison by compare-and-set; see [scu.Comparisons].
func (b *Broker) ChangeComparison(ctx context.Context, id string, change func(*scu.Comparison) error) (c scu.Comparison, err error) {
	err = b.comparison(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		for range rounds(ctx) {
			var revision uint64
			if c, revision, err = readComparison(ctx, kv, id); err != nil {
				return err
			}
			if err := change(&c); err != nil {
				return err
			}
			data, err := b.encodeComparison(c)
			if err != nil {
				return err
			}
			if _, err = kv.Update(ctx, id, data, revision); !outrun(err) {
				return err
			}
		}
		return scu.Errorf(scu.CodeUnavailable, "comparison %s changes all the time", id).WithHint("try again")
	})
	return c, err
}

// Comparisons lists all comparisons; see [scu.Comparisons].
func (b *Broker) Comparisons(ctx context.Context) (all []scu.Comparison, err error) {
	err = b.comparison(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return b.entries(ctx, kv, func(e jetstream.KeyValueEntry) error {
			var c scu.Comparison
			if err := json.Unmarshal(e.Value(), &c); err != nil {
				return scu.Errorf(scu.CodeInternal, "comparison %.40s can't be read: %w", e.Key(), err)
			}
			all = append(all, c)
			return nil
		})
	})
	slices.SortFunc(all, func(a, b scu.Comparison) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}

// comparison calls f with the bucket of comparisons, in bounded time.
func (b *Broker) comparison(ctx context.Context, f func(context.Context, jetstream.KeyValue) error) error {
	return fault(b.bucket(ctx, comparisonsBucket, f), "comparisons")
}

func readComparison(ctx context.Context, kv jetstream.KeyValue, id string) (c scu.Comparison, revision uint64, err error) {
	if !scu.ValidJobID(id) {
		return c, 0, noComparison(id)
	}
	e, err := entryOf(ctx, kv, id, noComparison(id))
	if err != nil {
		return c, 0, err
	}
	if err := json.Unmarshal(e.Value(), &c); err != nil {
		return c, 0, scu.Errorf(scu.CodeInternal, "comparison %s can't be read: %w", id, err)
	}
	return c, e.Revision(), nil
}

func (b *Broker) encodeComparison(c scu.Comparison) ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, scu.Errorf(scu.CodeInternal, "encode comparison %s: %w", c.ID, err)
	}
	if most := b.nc.MaxPayload() / 2; int64(len(data)) > most {
		return nil, scu.Errorf(scu.CodeTooLarge, "the comparison takes %d bytes, more than the %d allowed", len(data), most).WithHint("compare fewer settings or seeds")
	}
	return data, nil
}

func noComparison(id string) error {
	return scu.Errorf(scu.CodeNotFound, "no comparison %.64q", id)
}
