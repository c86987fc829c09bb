package api

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// blobs tells what is damaged, and how far the verification is.
func (s *Server) blobs(ctx context.Context, _ *struct{}) (*reply[client.BlobReport], error) {
	all, err := s.o.Broker.Damaged(ctx)
	if err != nil {
		return nil, err
	}
	v, _, err := s.o.Broker.Verification(ctx)
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = []scu.Damage{}
	}
	return answer(client.BlobReport{Verification: v, Damaged: all, Count: len(all)}), nil
}

// verifyBlobs has all stored blobs read, unless they are being read.
func (s *Server) verifyBlobs(ctx context.Context, _ *struct{}) (*reply[client.BlobReport], error) {
	if s.o.Verify == nil {
		return nil, scu.Errorf(scu.CodeUnsupported, "this server verifies no stored blobs")
	}
	out, err := s.blobs(ctx, nil)
	if err == nil && !out.Body.Verification.Running() { // else they would all be read twice
		s.o.Verify()
	}
	return out, err
}

type blobInput struct {
	SHA256 string `path:"sha256" pattern:"^[0-9a-f]{64}$" patternDescription:"a sha256" doc:"Of the bytes"`
	uploadInput
}

// putBlob stores bytes in the place of all damaged blobs that should have them.
func (s *Server) putBlob(ctx context.Context, in *blobInput) (*reply[client.BlobReport], error) {
	all, err := s.o.Broker.Damaged(ctx)
	if err != nil {
		return nil, err
	}
	var mended []scu.Damage
	for _, d := range all {
		blobs := s.o.Blobs[d.Kind]
		if d.SHA256 != in.SHA256 || blobs == nil {
			continue
		}
		put := scu.PutOptions{Title: d.Title, SHA256: d.SHA256, Limit: d.Size}
		if d.Size == 0 {
			put.Limit = s.o.MaxFileBytes
		}
		var stored scu.Blob
		if len(mended) == 0 {
			stored, err = blobs.Put(ctx, d.Key(), in.body, put)
		} else {
			stored, err = s.copyBlob(ctx, mended[0], d, put)
		}
		if err != nil {
			return nil, err
		}
		d.Size = stored.Size
		mended = append(mended, d)
		if err := s.damaged.mended(ctx, d.Key()); err != nil {
			return nil, err
		}
		s.log.InfoContext(ctx, "a damaged blob was mended", "kind", d.Kind, "name", d.Name)
	}
	if len(mended) == 0 {
		return nil, scu.Errorf(scu.CodeNotFound, "no blob that is known to be damaged has sha256 %s", in.SHA256).
			WithHint("scu blobs lists them; scu blobs verify looks for more")
	}
	return answer(client.BlobReport{Damaged: mended, Count: len(mended)}), nil
}

// copyBlob stores the bytes of a blob as another one.
func (s *Server) copyBlob(ctx context.Context, from, to scu.Damage, put scu.PutOptions) (scu.Blob, error) {
	r, _, err := s.o.Blobs[from.Kind].Get(ctx, from.Key(), 0, -1)
	if err != nil {
		return scu.Blob{}, err
	}
	defer r.Close()
	return s.o.Blobs[to.Kind].Put(ctx, to.Key(), r, put)
}
