package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/shannon-control/scu"
)

// BlobReport is what is known of the stored blobs: data, adapters, checkpoints.
type BlobReport struct {
	Verification scu.Verification `json:"verification" doc:"The newest reading of all of them"`
	Damaged      []scu.Damage     `json:"damaged" nullable:"false"`
	Count        int              `json:"count"`
}

// Blobs lists the stored blobs that are known to be damaged.
func (c *Client) Blobs(ctx context.Context) (BlobReport, error) {
	return call[BlobReport](ctx, c, http.MethodGet, "/blobs")
}

// verifiedEvery is how often it is asked how far a verification is.
const verifiedEvery = time.Second

// VerifyBlobs has the server read all stored blobs, waits until it has, and returns what is
// damaged. If they are being read already it waits for that.
func (c *Client) VerifyBlobs(ctx context.Context) (BlobReport, error) {
	before, err := call[BlobReport](ctx, c, http.MethodPost, "/blobs/verify")
	if err != nil {
		return before, err
	}
	for {
		now, err := c.Blobs(ctx)
		if err != nil {
			return now, err
		}
		v := now.Verification
		if v.EndedAt != nil && (before.Verification.Running() || !v.BegunAt.Equal(before.Verification.BegunAt)) {
			return now, nil
		}
		if err := scu.Sleep(ctx, verifiedEvery); err != nil {
			return now, err
		}
	}
}

// PutBlob sends a file whose bytes are those that damaged blobs should have, and returns the
// blobs that it mended; CodeNotFound if none should have them.
func (c *Client) PutBlob(ctx context.Context, path string, progress Progress) (BlobReport, error) {
	var out BlobReport
	f, size, err := openRegular(path)
	if err != nil {
		return out, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return out, scu.Errorf(scu.CodeInvalid, "read %s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return out, scu.Errorf(scu.CodeInvalid, "read %s: %w", path, err)
	}
	head := http.Header{}
	head.Set("Content-Type", "application/octet-stream")
	head.Set("Expect", "100-continue") // a refusal comes before the bytes go
	return send[BlobReport](ctx, c, http.MethodPut, "/blobs/"+hex.EncodeToString(h.Sum(nil)), head, counted(f, size, progress))
}
