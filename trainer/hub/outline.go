package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu/trainer/safetensors"
)

const (
	firstRead  = 256 << 10 // bytes that are asked for at first: most headers are shorter
	maxHeaders = 32 << 20  // bytes of all headers of a model; those of the largest public ones are below 20 MiB
)

// Outline is Describe with the names, types and shapes of the weights, at the cost of one or two
// small requests for each of their files: what a model takes is known, and what is wrong with it
// refused, before gigabytes are fetched. The headers are kept beside the cache's files, under the
// commit, and not asked for again; of a model in the cache its own files are read.
//
// Errors wrap one of the Err values where one fits, or are a *safetensors.FormatError.
func (c *Client) Outline(ctx context.Context, repo, revision string) (dir string, weights *safetensors.Model, err error) {
	dir, _, err = c.fetchModel(ctx, repo, revision, func(ctx context.Context, s *snapshot) (err error) {
		weights, err = s.outline(ctx)
		return err
	})
	return dir, weights, err
}

// outline reads the headers of model.safetensors or of the index's shards.
func (s *snapshot) outline(ctx context.Context) (*safetensors.Model, error) {
	var total atomic.Int64 // bytes of headers
	single, found, err := s.header(ctx, safetensors.SingleFile, &total)
	switch {
	case err != nil:
		return nil, err
	case found:
		return safetensors.Outline(map[string]*safetensors.Header{safetensors.SingleFile: single}, nil)
	}
	shards, err := s.index(ctx)
	if err != nil {
		return nil, err
	}
	headers := map[string]*safetensors.Header{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, shard := range shards {
		group.Go(func() error {
			h, found, err := s.header(ctx, shard, &total)
			if err != nil || !found {
				return s.missing(shard, err)
			}
			mu.Lock()
			defer mu.Unlock()
			headers[shard] = h
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	index, err := os.ReadFile(s.cache.pointer(s.commit, safetensors.IndexFile))
	if err != nil {
		return nil, err
	}
	return safetensors.Outline(headers, index)
}

// header is that of one file of the commit, and reports whether there is such a file. total counts
// the bytes of all headers.
func (s *snapshot) header(ctx context.Context, file string, total *atomic.Int64) (h *safetensors.Header, found bool, err error) {
	if err := checkFile(file); err != nil {
		return nil, false, err
	}
	if s.cache.has(s.commit, file) {
		h, err := headerOfFile(s.cache.pointer(s.commit, file))
		if err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
		return h, true, err
	}
	if h := s.cache.header(s.commit, file); h != nil {
		return h, true, nil
	}
	info, found, err := s.ask(ctx, file)
	if err != nil || !found {
		return nil, false, err
	}
	r := &remoteHeader{c: s.Client, ctx: ctx, url: s.fileURL(s.repo, info.commit, file), size: info.size, total: total}
	if h, err = r.read(); err != nil {
		return nil, false, fmt.Errorf("%s: %w", file, err)
	}
	s.cache.setHeader(info.commit, file, r.size, r.start[:h.DataOffset]) // as with markMissing, no loss where it cannot be written
	return h, true, nil
}

func headerOfFile(path string) (*safetensors.Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return safetensors.ReadHeader(f, info.Size())
}

// header is what setHeader kept; nil where there is nothing, or nothing of use.
func (r repoCache) header(commit, file string) *safetensors.Header {
	kept, err := os.ReadFile(r.headerPath(commit, file))
	if err != nil {
		return nil
	}
	line, start, _ := bytes.Cut(kept, []byte("\n"))
	size, err := length(string(line))
	if err != nil {
		return nil
	}
	h, err := safetensors.ReadHeader(bytes.NewReader(start), size)
	if err != nil {
		return nil
	}
	return h
}

// setHeader keeps the start of a safetensors file of the given size, up to its data.
func (r repoCache) setHeader(commit, file string, size int64, start []byte) error {
	return writeWhole(r.headerPath(commit, file), append(strconv.AppendInt(nil, size, 10), append([]byte("\n"), start...)...))
}

// remoteHeader is the start of a safetensors file at the Hub, as far as it has been asked for: an
// io.ReaderAt for safetensors.ReadHeader.
type remoteHeader struct {
	c     *Client
	ctx   context.Context
	url   string
	size  int64         // of the whole file; -1 until the server says it
	total *atomic.Int64 // bytes of all headers of the model
	start []byte
}

func (r *remoteHeader) read() (*safetensors.Header, error) {
	if r.size != 0 { // of nothing no range can be asked for
		if err := r.fetch(firstRead); err != nil {
			return nil, err
		}
	}
	return safetensors.ReadHeader(r, r.size)
}

// ReadAt fetches what is asked for where it isn't there yet.
func (r *remoteHeader) ReadAt(p []byte, off int64) (int, error) {
	if r.total.Add(int64(len(p))) > maxHeaders {
		return 0, fmt.Errorf("the headers of the weights take more than %d bytes", maxHeaders)
	}
	if end := off + int64(len(p)); end > int64(len(r.start)) && int64(len(r.start)) < r.size {
		if err := r.fetch(end); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.start[min(off, int64(len(r.start))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fetch requests the file's first n bytes, all where it has fewer. Of a server that sends more
// no more is read.
func (r *remoteHeader) fetch(n int64) error {
	return r.c.retry(r.ctx, maxRetries, func() (bool, error) {
		if r.size >= 0 {
			n = min(n, r.size)
		}
		resp, err := r.c.send(r.ctx, call{method: http.MethodGet, url: r.url, header: http.Header{"Range": {fmt.Sprintf("bytes=0-%d", n-1)}}})
		if err != nil {
			var status *StatusError
			if errors.As(err, &status) && status.Status == http.StatusRequestedRangeNotSatisfiable {
				err = fmt.Errorf("%w: the server has no bytes 0-%d of a file of %d", ErrCorrupt, n-1, r.size)
			}
			return false, err
		}
		defer resp.Body.Close()
		total := resp.ContentLength
		if resp.StatusCode == http.StatusPartialContent {
			var first int64
			if first, total, err = contentRange(resp.Header.Get("Content-Range")); err != nil || first != 0 {
				return false, fmt.Errorf("%w: the server sent %q instead of the range from byte 0", ErrCorrupt, printable(resp.Header.Get("Content-Range")))
			}
		}
		if r.size < 0 {
			r.size = total
		}
		if r.size < 0 || total >= 0 && total != r.size {
			return false, fmt.Errorf("%w: the server sends %d bytes of a file of %d", ErrCorrupt, total, r.size)
		}
		start := make([]byte, min(n, r.size))
		if got, err := io.ReadFull(resp.Body, start); err != nil {
			return false, networkError(resp.Request, fmt.Errorf("ended after %d of %d bytes", got, len(start)))
		}
		r.start = start
		return false, nil
	})
}
