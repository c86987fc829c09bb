package telemetry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// get asks a page and returns the status and the body.
func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestPage(t *testing.T) {
	var broken error
	p := Page{Registry: NewRegistry("v1.2.3"), Ready: func(context.Context) error { return broken },
		Guard: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer right" {
					http.Error(w, "no", http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r)
			})
		}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, l) }()
	at := "http://" + l.Addr().String()

	for _, c := range []struct {
		path, key string
		broken    error
		status    int
		has       string
	}{
		{"/livez", "", nil, 200, ""},
		{"/livez", "", errors.New("no NATS"), 200, ""},
		{"/readyz", "", nil, 200, ""},
		{"/readyz", "", errors.New("no NATS"), 503, "not ready"},
		{"/metrics", "wrong", nil, 401, ""},
		{"/metrics", "right", nil, 200, `scu_build_info{version="v1.2.3"} 1`},
		{"/debug/pprof/", "wrong", nil, 401, ""},
		{"/debug/pprof/", "right", nil, 200, "goroutine"},
		{"/debug/pprof/heap?debug=1", "right", nil, 200, "heap profile"},
		{"/other", "right", nil, 404, ""},
	} {
		broken = c.broken
		if status, body := get(t, at+c.path, c.key); status != c.status || !strings.Contains(body, c.has) {
			t.Errorf("%s with key %q: %d, %.200q; want %d and %q", c.path, c.key, status, body, c.status, c.has)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
