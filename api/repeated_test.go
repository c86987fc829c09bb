package api

import (
	"net/http"
	"strings"
	"testing"
)

// No part of a query is passed over in silence.
func TestParametersOnce(t *testing.T) {
	r := start(t, nil)
	for _, path := range []string{"/jobs?status=queued&status=running", "/jobs?limit=1&limit=2", "/v1/fine_tuning/jobs?limit=1&limit=2"} {
		if status, _, body := r.ask(http.MethodGet, path, ""); status/100 != 4 || !strings.Contains(body, "more than once") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for range 20 { // the same one each time
		if name := twiceIn("c=1&b=1&a=1&c=2&b=2"); name != "b" {
			t.Fatalf("of two it names %q", name)
		}
	}
	if status, _, body := r.ask(http.MethodGet, "/jobs?status=queued&limit=2", ""); status != 200 {
		t.Errorf("different ones: %d %s", status, body)
	}
}
