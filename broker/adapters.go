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

// PutAdapter stores a zip and returns its size in bytes and
// its sha256 in hex. Nothing is kept after an error.
func (b *Broker) PutAdapter(ctx context.Context, key scu.AdapterKey, zip io.Reader) (size int64, sum string, err error) {
	store, name, err := b.adapter(ctx, key)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	info, err := putObject(ctx, store, name, "", io.TeeReader(zip, h))
	if err != nil {
		return 0, "", fault(err, "store the adapter of job %s", key.Job)
	}
	return int64(info.Size), hex.EncodeToString(h.Sum(nil)), nil
}

// GetAdapter opens a zip, and gives its size in bytes;
// CodeNotFound if there is none. Its bytes are checked as they are read: the
// last Read fails if they are not those that were stored. The caller closes it.
func (b *Broker) GetAdapter(ctx context.Context, key scu.AdapterKey) (zip io.ReadCloser, size int64, err error) {
	store, name, err := b.adapter(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	r, info, err := b.getObject(ctx, store, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, 0, scu.Errorf(scu.CodeNotFound, "job %s has no such adapter", key.Job)
	}
	if err != nil {
		return nil, 0, fault(err, "read the adapter of job %s", key.Job)
	}
	return r, int64(info.Size), nil
}

// DeleteAdapter removes a zip. A zip that isn't there is not an error.
func (b *Broker) DeleteAdapter(ctx context.Context, key scu.AdapterKey) error {
	store, name, err := b.adapter(ctx, key)
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, name); !errors.Is(err, jetstream.ErrObjectNotFound) {
		return fault(err, "remove the adapter of job %s", key.Job)
	}
	return nil
}

func (b *Broker) adapter(ctx context.Context, key scu.AdapterKey) (jetstream.ObjectStore, string, error) {
	if !scu.ValidJobID(key.Job) {
		return nil, "", noJob(key.Job)
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	store, err := b.objs.ObjectStore(ctx, adaptersBucket)
	return store, adapterName(key), fault(err, "adapters")
}

// adapterName is the name of a zip in the object store.
func adapterName(key scu.AdapterKey) string {
	name := fmt.Sprintf("%s.%d", key.Job, key.Attempt)
	if key.Step > 0 {
		name += fmt.Sprintf(".%d", key.Step)
	}
	return name
}
