package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// takesIn are the routes that bring something new that has to be stored.
var takesIn = map[string]bool{"/files": true, "/jobs/submit": true, "/jobs/batch": true, "/comparisons": true, "/v1/files": true, "/v1/fine_tuning/jobs": true}

// keepRoom refuses what is new while the disk or the log is nearly full, before any of it is
// read: what is left is for the jobs that are here.
func (s *Server) keepRoom(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Method != http.MethodPost || !takesIn[r.URL.Path] {
			return next(c)
		}
		if err := s.room(r); err != nil {
			c.Response().Header().Set("Retry-After", "60")
			refuseWith(c.Response(), c.Request(), scu.AsError(err))
			return nil
		}
		return next(c)
	}
}

// room returns why nothing that a request brings can be taken in.
func (s *Server) room(r *http.Request) error {
	if s.o.Room != nil {
		if err := s.o.Room(); err != nil {
			return err
		}
	}
	if strings.HasSuffix(r.URL.Path, "/files") {
		return nil
	}
	streams, err := s.o.Broker.Streams(r.Context())
	if err != nil {
		return nil // the submission itself tells
	}
	for _, u := range streams {
		if u.Name == scu.LogUse {
			return u.RoomForJobs()
		}
	}
	return nil
}
