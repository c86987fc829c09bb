package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// takesIn are the routes that bring something new that has to be stored, and whether it is jobs,
// which the log takes.
var takesIn = map[string]bool{
	"/files": false, "/v1/files": false,
	"/jobs/submit": true, "/jobs/batch": true, "/comparisons": true, "/v1/fine_tuning/jobs": true,
}

// keepRoom refuses what is new while the disk or the log is nearly full, before any of it is
// read: what is left is for the jobs that are here.
func (s *Server) keepRoom(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		jobs, ok := takesIn[r.URL.Path]
		if r.Method != http.MethodPost || !ok {
			return next(c)
		}
		if err := s.room(r.Context(), jobs); err != nil {
			c.Response().Header().Set("Retry-After", "60")
			refuseWith(c.Response(), c.Request(), scu.AsError(err))
			return nil
		}
		return next(c)
	}
}

// room returns why nothing new can be taken in: on the disk or, of jobs, in the log.
func (s *Server) room(ctx context.Context, jobs bool) error {
	if s.o.Room != nil {
		if err := s.o.Room(); err != nil {
			return err
		}
	}
	if !jobs {
		return nil
	}
	log, err := s.o.Broker.LogUse(ctx)
	if err != nil {
		return nil // the submission itself tells
	}
	return log.Fits(leastJob)
}

// leastJob is less than any job takes of the log with what is kept for it.
const leastJob = 16 << 10
