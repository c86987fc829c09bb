package client

import (
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
)

// Progress is told how many bytes of total have been transferred; total is -1 if it isn't
// known.
type Progress func(done, total int64)

// UploadFile sends a local file; see Upload.
func (c *Client) UploadFile(ctx context.Context, path string, progress Progress) (scu.File, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return scu.File{}, scu.AsError(err).WithHint("name a text or JSONL file")
	}
	defer f.Close()
	return c.Upload(ctx, filepath.Base(path), f, size, progress)
}

// openRegular opens a file for sending, and tells its size; opening a fifo would wait for its
// other end.
func openRegular(path string) (f *os.File, size int64, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, 0, scu.Errorf(scu.CodeInvalid, "upload %s: not a regular file", path)
	}
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, 0, scu.Errorf(scu.CodeInvalid, "upload: %w", err)
	}
	return f, info.Size(), nil
}

// Upload streams what r gives to the server and returns the stored file; its ID is
// what Submit takes as a data path. size is for progress alone, -1 if it isn't
// known; progress may be nil.
func (c *Client) Upload(ctx context.Context, name string, r io.Reader, size int64, progress Progress) (scu.File, error) {
	body, pipe := io.Pipe()
	form := multipart.NewWriter(pipe)
	done := make(chan struct{})
	go func() {
		defer close(done)
		part, err := form.CreateFormFile("file", name)
		if err == nil {
			_, err = io.Copy(part, counted(r, size, progress))
		}
		if err == nil {
			err = form.Close()
		}
		pipe.CloseWithError(err)
	}()
	defer func() {
		body.Close() // ends the goroutine, which may still read r
		<-done
	}()

	h := http.Header{}
	h.Set("Content-Type", form.FormDataContentType())
	h.Set("Expect", "100-continue") // a refusal comes before the bytes go
	return send[scu.File](ctx, c, http.MethodPost, "/files", h, body)
}

// counted tells progress what is read from r.
func counted(r io.Reader, total int64, progress Progress) io.Reader {
	if progress == nil {
		return r
	}
	return &counter{r: r, total: total, progress: progress}
}

type counter struct {
	r           io.Reader
	done, total int64
	progress    Progress
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.done += int64(n)
		c.progress(c.done, c.total)
	}
	return n, err
}
