package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/shannon-control/scu"
)

type adapterInput struct {
	ID string `path:"id" doc:"The job's id"`
	PartInput
}

// PartInput asks for a part of a zip, or only for one that the client doesn't have yet. huma fills
// in exported fields only.
type PartInput struct {
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of a copy that is at hand"`
	Range       string `header:"Range" doc:"A part of the zip, as bytes=1000- for what follows the first thousand. Several ranges are answered with the whole"`
	IfRange     string `header:"If-Range" doc:"The ETag of the copy that the range is to complete; if it isn't this one's, the whole is answered"`
}

// adapter streams the zip.
func (s *Server) adapter(ctx context.Context, in *adapterInput) (*huma.StreamResponse, error) {
	j, err := s.withAdapter(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return s.zip(ctx, j.AdapterKey(), j.Adapter.Name, j.Adapter.Size, j.Adapter.SHA256, in.PartInput)
}

// withAdapter finds a job that has one.
func (s *Server) withAdapter(ctx context.Context, id string) (scu.Job, error) {
	j, _, err := s.find(ctx, id)
	if err != nil {
		return j, err
	}
	if j.Adapter == nil {
		// 404 and not 409: clients tell "not yet" by it.
		e := scu.Errorf(scu.CodeNotFound, "job %s has no adapter; it is %s", j.ID, j.Status)
		switch {
		case !j.Status.Ended():
			e = e.WithHint("wait until it is completed: GET /jobs/%s/status", j.ID)
			e.Retry = true
		case len(j.Checkpoints) > 0:
			e = e.WithHint("what it had learned at its last validation: GET /jobs/%s/checkpoints/last", j.ID)
		}
		return j, e
	}
	return j, nil
}

// zip streams a stored zip, or a part of it. Its ETag is its sha256, as the job's record has it.
func (s *Server) zip(ctx context.Context, key scu.AdapterKey, name string, size int64, sum string, in PartInput) (*huma.StreamResponse, error) {
	tag := `"` + sum + `"`
	if strings.Contains(in.IfNoneMatch, tag) || strings.TrimSpace(in.IfNoneMatch) == "*" {
		return &huma.StreamResponse{Body: func(c huma.Context) {
			c.SetHeader("ETag", tag)
			c.SetStatus(http.StatusNotModified)
		}}, nil
	}
	if in.IfRange != "" && in.IfRange != tag {
		in.Range = ""
	}
	part, whole, outside := parseRange(in.Range, size)
	if outside {
		return &huma.StreamResponse{Body: func(c huma.Context) {
			c.SetHeader("Content-Range", fmt.Sprintf("bytes */%d", size))
			write(humaecho.UnwrapV4(c).Response(), humaecho.UnwrapV4(c).Request(), refuse(http.StatusRequestedRangeNotSatisfiable,
				scu.Errorf(scu.CodeInvalid, "%.60q is outside the zip's %d bytes", in.Range, size).At("Range")))
		}}, nil
	}
	stored := scu.Damage{Kind: scu.AdapterBlob, Name: key.Blob().Name, Job: key.Job, Size: size, SHA256: sum}
	if size <= verifiedFirst { // so that damage is an answer of its own
		zip, err := s.storedZip(ctx, key, size, sum)
		if err == nil {
			_, err = io.Copy(io.Discard, zip)
			zip.Close()
		}
		s.damaged.note(ctx, stored, err)
		if scu.CodeOf(err) == scu.CodeDamaged {
			s.log.ErrorContext(ctx, "a stored zip is damaged", "job", key.Job, "err", err)
			err = scu.AsError(err).WithHint(sameAgain)
		}
		if err != nil {
			return nil, err
		}
	}
	zip, err := s.storedZip(ctx, key, size, sum)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer zip.Close()
		c.SetHeader("Content-Type", "application/zip")
		c.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, name))
		c.SetHeader("Content-Length", strconv.FormatInt(part.length, 10))
		c.SetHeader("Accept-Ranges", "bytes")
		c.SetHeader("ETag", tag)
		if whole {
			c.SetStatus(http.StatusOK)
		} else {
			c.SetHeader("Content-Range", part.contentRange(size))
			c.SetStatus(http.StatusPartialContent)
		}
		if err := copyRange(c.BodyWriter(), zip, part); err != nil {
			s.damaged.note(ctx, stored, err)
			if ctx.Err() == nil {
				s.log.WarnContext(ctx, "download of an adapter broke off", "job", key.Job, "err", err)
			}
			panic(http.ErrAbortHandler) // the client must not take half a zip for the whole
		}
	}}, nil
}

// verifiedFirst is the size up to which a zip is read through before its first byte is
// sent. A damaged one that is larger breaks off before its last byte.
const verifiedFirst = 64 << 20

// sameAgain is what to do about a zip that is lost.
const sameAgain = "submit the job again: it gives the same bytes"

// storedZip opens a zip that a job's record has. Its last byte comes only if all are
// right; CodeDamaged if they aren't, or if the zip is gone.
func (s *Server) storedZip(ctx context.Context, key scu.AdapterKey, size int64, sum string) (io.ReadCloser, error) {
	name := fmt.Sprintf("the adapter of job %s", key.Job)
	if key.Step > 0 {
		name = fmt.Sprintf("the checkpoint of job %s at step %d", key.Job, key.Step)
	}
	zip, _, err := s.o.Broker.GetAdapter(ctx, key)
	switch scu.CodeOf(err) {
	case "":
	case scu.CodeNotFound:
		if _, _, gone := s.find(ctx, key.Job); gone != nil {
			return nil, gone
		}
		return nil, scu.Errorf(scu.CodeDamaged, "%s is lost: the store doesn't have it any more", name).WithHint(sameAgain)
	case scu.CodeDamaged:
		return nil, scu.Errorf(scu.CodeDamaged, "%s is damaged in the store: %w", name, err).WithHint(sameAgain)
	default:
		return nil, err
	}
	r := scu.Blob{Key: scu.BlobKey{Kind: scu.AdapterBlob, Name: key.Job}, Size: size, SHA256: sum}.Verified(zip)
	return r, nil
}
