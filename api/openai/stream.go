package openai

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

// stream is an answer in server-sent events. It begins with the first one: what is refused
// before has a status of its own.
type stream struct {
	c     echo.Context
	begun bool
}

func (s *stream) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.data(b)
}

func (s *stream) data(b []byte) error {
	w := s.c.Response()
	if !s.begun {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
		w.WriteHeader(http.StatusOK)
		s.begun = true
	}
	if _, err := w.Write(append(append([]byte("data: "), b...), "\n\n"...)); err != nil {
		return err
	}
	err := http.NewResponseController(w.Writer).Flush()
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// end ends the stream, by its mark, or by an error if it had begun.
func (s *stream) end(h *handler, what string, err error) error {
	ctx := s.c.Request().Context()
	switch {
	case err == nil:
		return s.data([]byte("[DONE]"))
	case !s.begun:
		return err
	case ctx.Err() != nil: // nobody reads it
		return nil
	}
	p, _ := problemOf(h.Outward(ctx, what, err))
	return s.send(map[string]problem{"error": p})
}
