package broker

import (
	"context"
	"io"

	"github.com/shannon-control/scu"
)

// PutAdapter stores a zip and returns its size in bytes and its sha256 in hex. Nothing is
// kept after an error.
func (b *Broker) PutAdapter(ctx context.Context, key scu.AdapterKey, zip io.Reader) (size int64, sum string, err error) {
	if !scu.ValidJobID(key.Job) {
		return 0, "", scu.NoJob(key.Job)
	}
	stored, err := b.Blobs().Put(ctx, key.Blob(), zip, scu.PutOptions{})
	return stored.Size, stored.SHA256, err
}

// GetAdapter opens a zip, and gives its size in bytes; CodeNotFound if there is none. Its
// bytes are checked as they are read. The caller closes it.
func (b *Broker) GetAdapter(ctx context.Context, key scu.AdapterKey) (zip io.ReadCloser, size int64, err error) {
	if !scu.ValidJobID(key.Job) {
		return nil, 0, scu.NoJob(key.Job)
	}
	zip, stored, err := b.Blobs().Get(ctx, key.Blob(), 0, -1)
	if scu.CodeOf(err) == scu.CodeNotFound {
		err = scu.Errorf(scu.CodeNotFound, "job %s has no such adapter", key.Job)
	}
	return zip, stored.Size, err
}

// DeleteAdapter removes a zip. A zip that isn't there is not an error.
func (b *Broker) DeleteAdapter(ctx context.Context, key scu.AdapterKey) error {
	if !scu.ValidJobID(key.Job) {
		return scu.NoJob(key.Job)
	}
	return deleteBlob(ctx, b.Blobs(), key.Blob())
}

// deleteBlob removes a blob, if it is there.
func deleteBlob(ctx context.Context, blobs scu.Blobs, key scu.BlobKey) error {
	if err := blobs.Delete(ctx, key); scu.CodeOf(err) != scu.CodeNotFound {
		return err
	}
	return nil
}
