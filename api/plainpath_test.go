package api

import (
	"net/http"
	"strings"
	"testing"
)

// However a client encodes a path, it names the same thing.
func TestPathsInAnySpelling(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	escaped := ""
	for _, b := range []byte(id) {
		escaped += "%" + strings.ToUpper(string("0123456789abcdef"[b>>4])+string("0123456789abcdef"[b&15]))
	}
	for _, path := range []string{"/jobs/" + escaped, "/j%6Fbs/" + id, "/jobs/" + escaped + "/status", "/v1/fine_tuning/jobs/ftjob%2D" + id} {
		if status, _, body := r.ask(http.MethodGet, path, ""); status != 200 || !strings.Contains(body, id) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, _ := r.ask(http.MethodGet, "/jobs/"+id+"%2Fstatus", ""); status != 404 {
		t.Errorf("a slash in an id parted the path: %d", status)
	}
}
