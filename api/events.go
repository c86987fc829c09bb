package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
)

// Names of the events in a job's stream. client.Watch reads the same.
const (
	statusEvent  = "status"  // client.JobStatus: at first, and at each change
	metricsEvent = "metrics" // scu.Metrics: every step; the event's id is the step
)

const (
	keepAlive = 15 * time.Second // between signs of life, for proxies
	lookAgain = time.Second      // whether a step that should come is still there
	// maxStreams bounds the event streams at a time: each holds a connection and its buffers.
	maxStreams = 256
)

type eventsInput struct {
	ID          string `path:"id" doc:"The job's id"`
	After       int    `query:"after" minimum:"0" default:"0" doc:"Steps above this one; 0: from the first"`
	LastEventID int    `header:"Last-Event-ID" default:"0" doc:"Likewise, as browsers say it when they connect again; goes before after"`
}

// events streams what a job went through and what it goes through until it ends.
// Each step comes once, but for those that a new attempt trains again.
func (s *Server) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	if _, _, err := s.find(ctx, in.ID); err != nil {
		return nil, err
	}
	after := in.After
	if in.LastEventID > 0 {
		after = in.LastEventID
	}
	return s.stream(ctx, "/jobs/"+in.ID+"/status", func(ctx context.Context, w io.Writer) error {
		e := &eventStream{s: s, w: w, id: in.ID, after: after}
		return e.run(ctx)
	})
}

// stream answers with the events that run writes, until it returns. What the stream tells
// can be polled at instead, if too many are open.
func (s *Server) stream(ctx context.Context, instead string, run func(ctx context.Context, w io.Writer) error) (*huma.StreamResponse, error) {
	leave, err := s.streams.take(ctx, "close some, or poll GET "+instead)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer leave()
		ctx, cancel := context.WithCancel(c.Context())
		defer cancel()
		c.SetHeader("Content-Type", "text/event-stream")
		c.SetHeader("Cache-Control", "no-store")
		c.SetHeader("X-Accel-Buffering", "no") // nginx would hold events back
		c.SetStatus(http.StatusOK)
		if err := run(ctx, c.BodyWriter()); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "an event stream broke off", "path", c.URL().Path, "err", err)
		}
	}}, nil
}

// writeNow writes text and sends it on its way.
func writeNow(w io.Writer, text []byte) error {
	if _, err := w.Write(text); err != nil {
		return err
	}
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}

// eventStream is one client's view of one job. It follows the log and the metrics
// themselves: a read model that lags delays nothing and loses nothing.
type eventStream struct {
	s     *Server
	w     io.Writer
	id    string
	after int // the newest step that the client has had before; 0 once the stream is past it

	log   <-chan scu.LogEntry
	seq   uint64        // of the newest entry that the client knows
	end   *scu.LogEntry // the job's last entry, once it is read
	steps <-chan scu.MetricsEntry
	read  uint64 // how far the metrics are read

	filter  scu.StepFilter
	attempt int          // whose steps are being told
	newest  *scu.Metrics // goes with each state
}

// errOver means that the server or the broker ends the stream; the client connects again.
var errOver = errors.New("the event stream is over")

func (w *eventStream) run(ctx context.Context) error {
	err := w.begin(ctx)
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for err == nil && w.end == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-w.s.closing:
			return nil
		case e, ok := <-w.steps:
			if !ok {
				return nil
			}
			err = w.step(ctx, e)
		case e, ok := <-w.log:
			if !ok {
				return nil
			}
			err = w.entry(ctx, e)
		case <-alive.C:
			err = w.send(": alive\n\n")
		}
	}
	if err == nil {
		err = w.finish(ctx)
	}
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// begin tells the state as it is, unless it is the end, which comes last.
func (w *eventStream) begin(ctx context.Context) error {
	last, err := w.lastStep(ctx)
	if err != nil {
		return err
	}
	w.note(last.Metrics)
	j, seq, err := w.s.o.Broker.Job(ctx, w.id)
	if err != nil {
		return err
	}
	if j.Status.Ended() {
		w.end = &scu.LogEntry{Seq: seq, Event: scu.Event{Job: j}}
	} else {
		if err := w.state(ctx, j, seq); err != nil {
			return err
		}
		if w.log, err = w.s.o.Broker.FollowJob(ctx, w.id, seq); err != nil {
			return err
		}
	}
	w.steps, err = w.s.o.Broker.FollowMetrics(ctx, w.id)
	return err
}

// entry tells the job's state after an entry of the log. The end waits for finish.
func (w *eventStream) entry(ctx context.Context, e scu.LogEntry) error {
	if e.Seq <= w.seq || e.Event.Job.ID == "" { // known, or unreadable
		return nil
	}
	if e.Event.Job.Status.Ended() {
		w.seq, w.end = e.Seq, &e
		return nil
	}
	return w.state(ctx, e.Event.Job, e.Seq)
}

// step tells a step, and before an attempt's first one what the log says up to now:
// at least that the attempt was started.
func (w *eventStream) step(ctx context.Context, e scu.MetricsEntry) error {
	if e.Metrics.Attempt > w.attempt {
		w.attempt = e.Metrics.Attempt
		_, seq, err := w.s.o.Broker.Job(ctx, w.id)
		if err != nil {
			return err
		}
		for w.seq < seq && w.end == nil {
			entry, err := receive(ctx, w.s, w.log)
			if err != nil {
				return err
			}
			if err := w.entry(ctx, entry); err != nil {
				return err
			}
		}
	}
	return w.tell(e)
}

// finish tells the steps that are still missing, which the trainer has stored before
// it ended the job, and then the end.
func (w *eventStream) finish(ctx context.Context) error {
	last, err := w.lastStep(ctx)
	if err != nil {
		return err
	}
	for w.read < last.Seq {
		wait, cancel := context.WithTimeout(ctx, lookAgain)
		e, err := receive(wait, w.s, w.steps)
		again := wait.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			err = w.tell(e)
		case again: // who deletes the job now takes its steps along
			last, err = w.lastStep(ctx)
		}
		if err != nil {
			return err
		}
	}
	return w.state(ctx, w.end.Event.Job, w.end.Seq)
}

// receive waits for the next entry of a subscription.
func receive[E any](ctx context.Context, s *Server, from <-chan E) (E, error) {
	select {
	case e, ok := <-from:
		if ok {
			return e, nil
		}
	case <-ctx.Done():
	case <-s.closing:
	}
	return *new(E), errOver
}

// lastStep returns the entry of the metrics that was stored last, the zero one if there
// is none.
func (w *eventStream) lastStep(ctx context.Context) (scu.MetricsEntry, error) {
	e, err := w.s.o.Broker.LastMetrics(ctx, w.id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return scu.MetricsEntry{}, nil
	}
	return e, err
}

// note keeps the newest step of the newest attempt.
func (w *eventStream) note(m scu.Metrics) {
	if n := w.newest; m.JobID != "" && (n == nil || m.Newer(n)) {
		w.newest = &m
	}
}

func (w *eventStream) state(ctx context.Context, j scu.Job, seq uint64) error {
	w.seq = seq
	data, err := json.Marshal(w.s.describe(ctx, j, seq, w.newest))
	if err != nil {
		return err
	}
	return w.send("event: %s\ndata: %s\n\n", statusEvent, data)
}

// tell sends a step that is new. Those that the client has had before end with the
// first one of the number that it names; what it saw of a later attempt may come again.
func (w *eventStream) tell(e scu.MetricsEntry) error {
	w.read = e.Seq
	m := e.Metrics
	if !w.filter.Pass(m) {
		return nil
	}
	w.note(m)
	if m.Step < w.after {
		return nil
	}
	known := m.Step == w.after
	w.after = 0
	if known {
		return nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return w.send("event: %s\nid: %d\ndata: %s\n\n", metricsEvent, m.Step, data)
}

func (w *eventStream) send(format string, args ...any) error {
	return writeNow(w.w, fmt.Appendf(nil, format, args...))
}
