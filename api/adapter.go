package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
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
	j, _, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
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
		return nil, e
	}
	return s.zip(ctx, scu.AdapterKey{Job: j.ID, Attempt: j.Attempt}, j.Adapter.Name, j.Adapter.Size, j.Adapter.SHA256, in.PartInput)
}

// zip streams a stored zip, or a part of it. Its ETag is its sha256, as the job's record has it.
func (s *Server) zip(ctx context.Context, key scu.AdapterKey, name string, size int64, sum string, in PartInput) (*huma.StreamResponse, error) {
	tag := `"` + sum + `"`
	if strings.Contains(in.IfNoneMatch, tag) {
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
	zip, _, err := s.o.Broker.GetAdapter(ctx, key)
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
		if err := copyRange(c.BodyWriter(), newVerified(zip, sum), part); err != nil {
			if ctx.Err() == nil {
				s.log.WarnContext(ctx, "download of an adapter broke off", "job", key.Job, "err", err)
			}
			panic(http.ErrAbortHandler) // the client must not take half a zip for the whole
		}
	}}, nil
}

// verified gives the bytes of a reader, but the last of them only where all of them
// have the sum: a client that gets as many as were announced has the right ones.
type verified struct {
	r   *bufio.Reader
	h   hash.Hash
	sum string // sha256, hex
}

func newVerified(r io.Reader, sum string) *verified {
	return &verified{bufio.NewReaderSize(r, 32<<10), sha256.New(), sum}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	if err != nil {
		return n, err
	}
	switch _, err := v.r.Peek(1); err {
	case nil:
		return n, nil
	case io.EOF:
		if got := hex.EncodeToString(v.h.Sum(nil)); got != v.sum {
			return 0, fmt.Errorf("the stored bytes have sha256 %s, not %s", got, v.sum)
		}
		return n, nil
	default:
		return 0, err
	}
}
