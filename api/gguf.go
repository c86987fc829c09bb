package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
)

// mostGGUF bounds the adapters that are written as GGUF, or sent, at once: each has a file of
// its own meanwhile, and the one that is written its weights in memory.
const mostGGUF = 8

type ggufInput struct {
	ID   string `path:"id" doc:"The job's id"`
	Type string `query:"type" enum:"f32,f16,bf16,q8_0" default:"f32" doc:"Of the weights"`
}

// gguf sends a job's adapter as llama.cpp reads it. It is written first, to a file, so that a
// refusal is an answer and the file has a length and an ETag, its sha256.
func (s *Server) gguf(ctx context.Context, in *ggufInput) (*huma.StreamResponse, error) {
	j, err := s.withAdapter(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if s.o.AdapterGGUF == nil {
		return nil, scu.Errorf(scu.CodeUnsupported, "this server writes no GGUF")
	}
	leave, err := s.ggufs.take(ctx, "try again when one has ended")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "scu-gguf-")
	if err != nil {
		leave()
		return nil, err
	}
	done := func() { os.RemoveAll(dir); leave() }
	path := filepath.Join(dir, "adapter.gguf")
	if err := s.writeGGUF(ctx, j, in.Type, path); err != nil {
		done()
		return nil, err
	}
	file, size, sum, err := opened(path)
	if err != nil {
		done()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer done()
		defer file.Close()
		c.SetHeader("Content-Type", "application/octet-stream")
		c.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="%s_adapter.gguf"`, j.ID))
		c.SetHeader("Content-Length", strconv.FormatInt(size, 10))
		c.SetHeader("ETag", `"`+sum+`"`)
		c.SetStatus(http.StatusOK)
		if _, err := io.Copy(c.BodyWriter(), file); err != nil {
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}}, nil
}

// writeGGUF writes one at a time.
func (s *Server) writeGGUF(ctx context.Context, j scu.Job, as, path string) error {
	select {
	case s.ggufTurn <- struct{}{}:
		defer func() { <-s.ggufTurn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.o.AdapterGGUF(ctx, j.Config.Base(), j.AdapterKey(), as, path)
}

// opened opens a file at its beginning and tells its size and sha256.
func opened(path string) (f *os.File, size int64, sum string, err error) {
	if f, err = os.Open(path); err != nil {
		return nil, 0, "", err
	}
	h := sha256.New()
	if size, err = io.Copy(h, f); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
	}
	return f, size, hex.EncodeToString(h.Sum(nil)), err
}
