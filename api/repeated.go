package api

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// twice is said of a field or a parameter of which all but one would be passed over in silence.
const twice = "is given more than once"

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
