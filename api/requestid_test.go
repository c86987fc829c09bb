package api

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// Every answer names its request, by the client's name if it is sane, and the log does
// too.
func TestRequestID(t *testing.T) {
	var log bytes.Buffer
	r := start(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for path, status := range map[string]int{"/health": 200, "/jobs/0": 404, "/nowhere": 404, "/docs": 200} {
		got, h, _ := r.ask(http.MethodGet, path, "", "X-Request-Id", "mine-1.2:3")
		if got != status || h.Get("X-Request-Id") != "mine-1.2:3" {
			t.Errorf("%s: %d, request id %q", path, got, h.Get("X-Request-Id"))
		}
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "two words", "\"quoted\"", strings.Repeat("x", 129), "ü"} {
		_, h, _ := r.ask(http.MethodGet, "/health", "", "X-Request-Id", id)
		got := h.Get("X-Request-Id")
		if got == id || len(got) < 20 || seen[got] {
			t.Errorf("for %.20q the request id is %q", id, got)
		}
		seen[got] = true
	}
	r.ask(http.MethodPost, "/jobs/submit", "{}", "X-Request-Id", "bad-job")
	r.server.log.Info("done")
	if text := log.String(); !strings.Contains(text, "path=/jobs/submit status=422") || !strings.Contains(text, "request_id=bad-job") {
		t.Errorf("the log has no request id: %s", text)
	}
}
