package api

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
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

// onceEach refuses a query that has a parameter twice: the second would be passed over in
// silence, and status=queued&status=running answer the queued jobs alone.
func onceEach(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if name := twiceIn(c.Request().URL.RawQuery); name != "" {
			refuseWith(c.Response(), c.Request(), scu.Errorf(scu.CodeInvalid, twice).At(name).WithHint("ask once for each value"))
			return nil
		}
		return next(c)
	}
}

// twiceIn is the first parameter, by name, that a query has more than once, "" if there is none.
func twiceIn(query string) string {
	if !strings.Contains(query, "&") {
		return ""
	}
	values, _ := url.ParseQuery(query) // what can't be read is refused where it is used
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) > 1 {
			return name
		}
	}
	return ""
}
