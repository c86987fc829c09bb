package api

import (
	"encoding/json"
	"strings"
	"testing"
)

// The document says of each operation how it refuses, of the open ones that they take no
// key, and groups them in the order of a user's tasks.
func TestDocumentIsComplete(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "k" })
	_, _, body := r.ask("GET", "/openapi.json", "")
	var doc struct {
		Info  struct{ License struct{ Identifier string } }
		Tags  []struct{ Name string }
		Paths map[string]map[string]struct {
			Tags      []string
			Security  *[]map[string][]string
			Responses map[string]any
		}
	}
	must(t, json.Unmarshal([]byte(body), &doc))
	if doc.Info.License.Identifier != "Apache-2.0" || len(doc.Tags) != len(tags) {
		t.Errorf("license %q, tags %v", doc.Info.License.Identifier, doc.Tags)
	}
	for path, item := range doc.Paths {
		for method, op := range item {
			if len(op.Tags) != 1 || rank(op.Tags[0]) < 0 {
				t.Errorf("%s %s: tags %v", method, path, op.Tags)
			}
			if isOpen := op.Security != nil && len(*op.Security) == 0; isOpen != (scopeOf(strings.ToUpper(method), path) == anyone) {
				t.Errorf("%s %s: security %v", method, path, op.Security)
			}
		}
	}
	for _, c := range []struct{ method, path, statuses string }{
		{"get", "/health", "200"},
		{"get", "/jobs", "200 401 422"},
		{"post", "/jobs/submit", "200 401 413 422"},
		{"post", "/jobs/{id}/cancel", "200 401 404 409"},
		{"get", "/jobs/{id}/adapter", "200 401 404"},
	} {
		for _, status := range strings.Fields(c.statuses) {
			if doc.Paths[c.path][c.method].Responses[status] == nil {
				t.Errorf("%s %s doesn't declare %s: %v", c.method, c.path, status, doc.Paths[c.path][c.method].Responses)
			}
		}
	}
	_, _, page := r.ask("GET", "/docs", "")
	at := -1
	for _, tag := range tags {
		i := strings.Index(page, "<h2>"+tag.Name+"</h2>")
		if i <= at {
			t.Errorf("the page has %q at %d, after %d", tag.Name, i, at)
		}
		at = i
	}
}
