package api

import (
	"net/http"
	"strings"
)

// plainPath is r with its path in one spelling. The router goes by URL.RawPath if there is
// one, and doesn't decode what it finds there, so an id that a client wrote as %61b was not
// found. An encoded slash stays: it belongs to a name and parts nothing.
func plainPath(r *http.Request) *http.Request {
	if r.URL.RawPath == "" || strings.Contains(strings.ToUpper(r.URL.RawPath), "%2F") {
		return r
	}
	u := *r.URL
	u.RawPath = ""
	r = r.WithContext(r.Context())
	r.URL = &u
	return r
}
