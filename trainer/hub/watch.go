package hub

import (
	"context"
	"errors"
	"io"
	"time"
)

const defaultStall = 60 * time.Second

var errStalled = errors.New("no data for too long")

// watch ends a try in which nothing moves.
type watch struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// startWatch gives a context that ends when nothing has moved for c.stall.
func (c *Client) startWatch(parent context.Context) (context.Context, *watch) {
	limit := c.stall
	if limit == 0 {
		limit = defaultStall
	}
	ctx, cancel := context.WithCancelCause(parent)
	return ctx, &watch{time.AfterFunc(limit, func() { cancel(errStalled) }), limit, cancel}
}

func (w *watch) moved() { w.timer.Reset(w.limit) }

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

type watchedReader struct {
	io.Reader
	watch *watch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.watch.moved()
	return n, err
}

type watchedBody struct {
	io.ReadCloser
	watch *watch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.moved()
	return n, err
}

func (b *watchedBody) Close() error {
	b.watch.stop()
	return b.ReadCloser.Close()
}
