package api

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A route as the documents write it: GET /jobs/{id}/events or GET /jobs/JOB, or the path that a
// call of curl has.
var (
	route = regexp.MustCompile(`\b(GET|POST|PUT|DELETE) (/[\w./{}-]*)`)
	id    = regexp.MustCompile(`^(\{\w+\}|[A-Z]+|[0-9a-f]{16})$`)
	curl  = regexp.MustCompile(`curl [^\n|]*localhost:8000(/[\w./-]+)`)
)

// served reports whether a route answers at a path of a document, whose ids are {id}, ID or JOB.
func served(method, path string) bool {
	parts := strings.Split(strings.TrimRight(path, "./"), "/")
	for known := range scopes {
		m, pattern, _ := strings.Cut(known, " ")
		of := strings.Split(pattern, "/")
		if (method == "" || m == method || m == "*") && slices.EqualFunc(parts, of, func(part, of string) bool {
			return part == of || strings.HasPrefix(of, "{") && id.MatchString(part)
		}) {
			return true
		}
	}
	return path == "/" || strings.HasPrefix(path, "/debug/pprof")
}

// Every route that the documents name is there.
func TestDocumentsNameRoutes(t *testing.T) {
	found := 0
	for _, pattern := range []string{"../README.md", "../SECURITY.md", "../docs/*.md", "../examples/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		must(t, err)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			must(t, err)
			for _, m := range route.FindAllStringSubmatch(string(text), -1) {
				if found++; !served(m[1], m[2]) {
					t.Errorf("%s: there is no route %s %s", filepath.Base(path), m[1], m[2])
				}
			}
			for _, m := range curl.FindAllStringSubmatch(string(text), -1) {
				if found++; !served("", m[1]) {
					t.Errorf("%s: there is no route %s", filepath.Base(path), m[1])
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("%d routes were found in the documents: are they read as they are written?", found)
	}
}
