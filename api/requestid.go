package api

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
)

// requestIDHeader names a request in its answer and in the log. The client may choose
// the name.
const requestIDHeader = "X-Request-Id"

const maxRequestID = 128

// requestID is the client's id if a header and a log can carry it as it is, else a new
// one.
func requestID(r *http.Request) string {
	id := r.Header.Get(requestIDHeader)
	if id == "" || len(id) > maxRequestID {
		return rand.Text()
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' || id[i] == '"' {
			return rand.Text()
		}
	}
	return id
}

type requestIDKey struct{}

// requestLog adds the request's id to the log lines written on its behalf.
type requestLog struct{ slog.Handler }

func (h requestLog) Handle(ctx context.Context, r slog.Record) error {
	if id, ok := ctx.Value(requestIDKey{}).(string); ok {
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h requestLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestLog{h.Handler.WithAttrs(attrs)}
}

func (h requestLog) WithGroup(name string) slog.Handler { return requestLog{h.Handler.WithGroup(name)} }
