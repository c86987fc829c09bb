package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
)

// Names of the events in a job's stream. client.Watch reads the same.
const (
	statusEvent  = "status"  // client.JobStatus: at first, and at each change
	metricsEvent = "metrics" // scu.Metrics: every step; the event's id is the step
)

const (
	stateInterval = 250 * time.Millisecond // between looks at the job's state
	keepAlive     = 15 * time.Second       // between signs of life, for proxies
	historyPage   = 1000
	// maxStreams bounds the event streams at a time. Each is a consumer of the
	// metrics, of which NATS allows a thousand, the projector's among them.
	maxStreams = 256
)

type eventsInput struct {
	ID          string `path:"id" doc:"The job's id"`
	After       int    `query:"after" minimum:"-1" default:"-1" doc:"Steps above this one"`
	LastEventID int    `header:"Last-Event-ID" default:"-1" doc:"Likewise, as browsers say it when they connect again; goes before after"`
}

// events streams what a job went through and what it goes through until it ends.
// Each step comes once, but for those that a new attempt trains again.
func (s *Server) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	if _, _, err := s.find(ctx, in.ID); err != nil {
		return nil, err
	}
	after := in.After
	if in.LastEventID >= 0 {
		after = in.LastEventID
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return nil, scu.Errorf(scu.CodeUnavailable, "%d event streams are open, and there can be no more", maxStreams).
			WithHint("close some, or ask GET /jobs/%s/status now and then", in.ID)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer s.streams.Add(-1)
		ctx, cancel := context.WithCancel(c.Context())
		defer cancel()
		c.SetHeader("Content-Type", "text/event-stream")
		c.SetHeader("Cache-Control", "no-store")
		c.SetHeader("X-Accel-Buffering", "no") // nginx would hold events back
		c.SetStatus(http.StatusOK)
		w := &eventStream{s: s, w: c.BodyWriter(), id: in.ID, after: after}
		if err := w.run(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "event stream broke off", "job", in.ID, "err", err)
		}
	}}, nil
}

// eventStream is one client's view of one job.
type eventStream struct {
	s     *Server
	w     io.Writer
	id    string
	after int    // the newest step that the client has
	seq   uint64 // of the newest state that it has
}

func (w *eventStream) run(ctx context.Context) error {
	if ended, err := w.state(ctx); ended || err != nil {
		return err
	}
	steps, err := w.s.o.Broker.SubscribeMetrics(ctx, w.id)
	if err != nil {
		return err
	}
	look, alive := time.NewTicker(stateInterval), time.NewTicker(keepAlive)
	defer look.Stop()
	defer alive.Stop()
	known := w.after // the steps up to here lie before what the client asked for
	attempt := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.s.closing:
			return nil
		case m, ok := <-steps:
			if !ok {
				return nil // the client connects again
			}
			if m.Step <= known {
				continue
			}
			known = -1
			if m.Attempt > attempt { // what it began with comes before its steps
				attempt = m.Attempt
				if ended, err := w.state(ctx); ended || err != nil {
					return err
				}
			}
			if err := w.step(m); err != nil {
				return err
			}
		case <-look.C:
			if ended, err := w.state(ctx); ended || err != nil {
				return err
			}
		case <-alive.C:
			if err := w.send(": alive\n\n"); err != nil {
				return err
			}
		}
	}
}

// state tells the job's state where it changed. At its end it tells the steps that
// are missing first, so that the last event is the end.
func (w *eventStream) state(ctx context.Context) (ended bool, err error) {
	j, seq, err := w.s.o.Broker.Job(ctx, w.id)
	if err != nil || seq == w.seq {
		return false, err
	}
	w.seq = seq
	if j.Status.Ended() {
		if err := w.rest(ctx); err != nil {
			return false, err
		}
	}
	m, err := w.s.latest(ctx, j.ID)
	if err != nil {
		return false, err
	}
	data, err := json.Marshal(statusOf(j, m))
	if err != nil {
		return false, err
	}
	return j.Status.Ended(), w.send("event: %s\ndata: %s\n\n", statusEvent, data)
}

// rest sends the steps of an ended job that weren't sent yet. Its trainer has
// published them all, so the read model only has to come up to now.
func (w *eventStream) rest(ctx context.Context) error {
	state, metrics, err := w.s.o.Broker.End(ctx)
	if err != nil {
		return err
	}
	if err := w.s.projected(ctx, store.Positions{State: state, Metrics: metrics}); err != nil {
		return err
	}
	return w.history(ctx)
}

// history sends the steps that the client hasn't, from the read model.
func (w *eventStream) history(ctx context.Context) error {
	for {
		rows, more, err := w.s.o.Store.Metrics(ctx, w.id, store.Page{AfterStep: w.after, Limit: historyPage})
		if err != nil {
			return err
		}
		for _, m := range rows {
			if err := w.step(m); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

func (w *eventStream) step(m scu.Metrics) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	w.after = m.Step
	return w.send("event: %s\nid: %d\ndata: %s\n\n", metricsEvent, m.Step, data)
}

func (w *eventStream) send(format string, args ...any) error {
	if _, err := fmt.Fprintf(w.w, format, args...); err != nil {
		return err
	}
	if f, ok := w.w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}
