package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Adapters are stored under their job and attempt, so that a trainer that was
// given up can't write over what its successor stored.

// PutAdapter stores the zip of a job's adapter and returns its size in bytes and
// its sha256 in hex. Nothing is kept after an error.
func (b *Broker) PutAdapter(ctx context.Context, jobID string, attempt int, zip io.Reader) (size int64, sum string, err error) {
	store, name, err := b.adapter(ctx, jobID, attempt)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	info, err := putObject(ctx, store, name, "", io.TeeReader(zip, h))
	if err != nil {
		return 0, "", fault(err, "store the adapter of job %s", jobID)
	}
	return int64(info.Size), hex.EncodeToString(h.Sum(nil)), nil
}

// GetAdapter opens the zip that an attempt stored, and gives its size in bytes;
// CodeNotFound if there is none. Its bytes are checked as they are read: the
// last Read fails if they are not those that were stored. The caller closes it.
func (b *Broker) GetAdapter(ctx context.Context, jobID string, attempt int) (zip io.ReadCloser, size int64, err error) {
	store, name, err := b.adapter(ctx, jobID, attempt)
	if err != nil {
		return nil, 0, err
	}
	r, info, err := b.getObject(ctx, store, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, 0, scu.Errorf(scu.CodeNotFound, "job %s has no adapter", jobID)
	}
	if err != nil {
		return nil, 0, fault(err, "read the adapter of job %s", jobID)
	}
	return r, int64(info.Size), nil
}

// DeleteAdapter removes what an attempt stored; what isn't there is removed.
func (b *Broker) DeleteAdapter(ctx context.Context, jobID string, attempt int) error {
	store, name, err := b.adapter(ctx, jobID, attempt)
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, name); !errors.Is(err, jetstream.ErrObjectNotFound) {
		return fault(err, "remove the adapter of job %s", jobID)
	}
	return nil
}

func (b *Broker) adapter(ctx context.Context, jobID string, attempt int) (jetstream.ObjectStore, string, error) {
	if !scu.ValidJobID(jobID) {
		return nil, "", noJob(jobID)
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	store, err := b.objs.ObjectStore(ctx, adaptersBucket)
	return store, fmt.Sprintf("%s.%d", jobID, attempt), fault(err, "adapters")
}
