package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

const (
	// writeTime is how long a client may take to accept what is written at once.
	writeTime = time.Minute
	// lingerTime is how long what comes of a refused request is read on.
	lingerTime = 2 * time.Second
)

// observe is the outermost layer: it logs and counts requests, turns a panic into
// an answer, and lets no client stall a write for ever.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		begin := time.Now()
		c.Response().Writer = patientWriter{c.Response().Writer}
		id := requestID(c.Request())
		c.Response().Header().Set(requestIDHeader, id)
		r := c.Request().WithContext(context.WithValue(c.Request().Context(), requestIDKey{}, id)) // a copy: the server looks at its own in the end
		r.Body = io.NopCloser(r.Body)                                                              // huma closes what it refuses, and linger reads that
		c.SetRequest(r)
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				s.log.ErrorContext(r.Context(), "panic in a handler", "method", c.Request().Method, "path", c.Request().URL.Path, "panic", p, "stack", string(debug.Stack()))
				if !c.Response().Committed {
					refuseWith(c.Response(), c.Request(), scu.Errorf(scu.CodeInternal, "the server failed").WithHint("its log says why"))
					p = nil
				}
			}
			s.note(c, time.Since(begin))
			if p != nil {
				panic(http.ErrAbortHandler) // what was begun must not look whole
			}
		}()
		if err := next(c); err != nil {
			c.Error(err)
		}
		if c.Response().Status >= 400 {
			linger(c, r.Body)
		}
		return nil
	}
}

// linger reads what is left of a refused request, for a while, before the answer
// goes. Many clients look for none until they have sent everything, and would see
// a broken connection only; those that expect a 100 do look.
func linger(c echo.Context, body io.Reader) {
	if c.Request().Header.Get("Expect") != "" {
		return
	}
	// Where the connection knows no deadlines it is a test's recorder.
	_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Now().Add(lingerTime))
	io.Copy(io.Discard, body)
}

// note logs and counts one request. Reading that went well is not worth a line.
func (s *Server) note(c echo.Context, took time.Duration) {
	r, status := c.Request(), c.Response().Status
	s.monitor.request(r.Method, c.Path(), status, took)
	level := slog.LevelInfo
	switch {
	case status >= 500:
		level = slog.LevelError
	case status < 400 && r.Method == http.MethodGet:
		level = slog.LevelDebug
	}
	args := []any{"method", r.Method, "path", r.URL.Path, "status", status, "took", took, "bytes", c.Response().Size, "from", c.RealIP()}
	if who := callerOf(r.Context()); who.key != "" {
		args = append(args, "key", who.key, "owner", who.owner)
	}
	s.log.Log(r.Context(), level, "request", args...)
}

// patientWriter gives each write its own deadline, where the server has none for
// whole answers, since streams last.
type patientWriter struct{ http.ResponseWriter }

func (w patientWriter) Write(p []byte) (int, error) {
	// Where the connection knows no deadlines it is a test's recorder.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTime))
	return w.ResponseWriter.Write(p)
}

func (w patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// routingError answers requests that no route matches.
func (s *Server) routingError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	r := c.Request()
	var he *echo.HTTPError
	switch {
	case errors.As(err, &he) && he.Code == http.StatusNotFound:
		refuseWith(c.Response(), c.Request(), scu.Errorf(scu.CodeNotFound, "no route %s %.200s", r.Method, r.URL.Path).WithHint("GET /docs lists them"))
	case errors.As(err, &he) && he.Code == http.StatusMethodNotAllowed:
		write(c.Response(), r, refuse(he.Code, scu.Errorf(scu.CodeInvalid, "%s does not accept %s", r.URL.Path, r.Method).WithHint("it accepts %s", c.Response().Header().Get("Allow"))))
	default:
		s.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		refuseWith(c.Response(), c.Request(), scu.Errorf(scu.CodeInternal, "the server failed").WithHint("its log says why"))
	}
}

// secureHeaders tells browsers to make nothing of the answers but what they are.
// There is no CORS header: pages of other origins read nothing.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
