package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
)

// Names of the events in the stream of all jobs, besides metricsEvent.
const (
	jobEvent     = "job"     // client.JobSummary: a job changed its state, or began
	deletedEvent = "deleted" // {"job_id"}: there is none of that id any more
)

// pace is the least time between two batches of metrics in the stream of all jobs.
const pace = 250 * time.Millisecond

// allEvents streams what happens to all jobs from now on: each change of a state, and the
// newest step of those that train. Whoever reads it asks for the list once it is open.
func (s *Server) allEvents(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	end, err := s.o.Broker.End(ctx)
	if err != nil {
		return nil, err
	}
	return s.stream(ctx, "/jobs", func(ctx context.Context, w io.Writer) error { return s.tellAll(ctx, w, end) })
}

// tellAll writes what comes after a position, until the reader or the server ends it.
func (s *Server) tellAll(ctx context.Context, w io.Writer, after scu.Position) error {
	batches, failed := make(chan scu.Batch), make(chan error, 1)
	go func() {
		failed <- s.o.Broker.Follow(ctx, after, func(b scu.Batch) error {
			select {
			case batches <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	seen := seenEvents{s: s, who: callerOf(ctx), owners: map[string]string{}}
	text, steps := []byte(": open\n\n"), map[string]scu.Progress{}
	for {
		if len(text) > 0 {
			if err := writeNow(w, text); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.closing:
			return nil
		case err := <-failed:
			return err
		case <-alive.C:
			text = []byte(": alive\n\n")
		case b := <-batches:
			own, err := seen.of(ctx, b)
			if err != nil {
				return err
			}
			text = appendBatch(nil, own, steps)
			if len(b.Metrics) > 0 {
				select { // the next ones come together
				case <-time.After(pace):
				case <-ctx.Done():
				case <-s.closing:
				}
			}
		}
	}
}

// appendBatch appends the events of a batch: every state, and each job's newest step. steps
// is how far each job that trains is.
func appendBatch(text []byte, b scu.Batch, steps map[string]scu.Progress) []byte {
	newest := map[string]*scu.Metrics{}
	for i := range b.Metrics {
		if m := &b.Metrics[i].Metrics; m.JobID != "" {
			if n := newest[m.JobID]; n == nil || m.Newer(n) {
				newest[m.JobID] = m
			}
		}
	}
	for id, m := range newest {
		steps[id] = scu.Progress{Step: m.Step, Steps: m.Steps}
		text = appendEvent(text, metricsEvent, m)
	}
	for _, e := range b.State {
		j := e.Event.Job
		switch {
		case j.ID == "": // unreadable
			continue
		case j.Status == scu.Deleted:
			text = appendEvent(text, deletedEvent, map[string]string{"job_id": j.ID})
		default:
			var m *scu.Metrics
			if p, ok := steps[j.ID]; ok {
				m = &scu.Metrics{Step: p.Step, Steps: p.Steps}
			}
			text = appendEvent(text, jobEvent, summaryOf(j, scu.ProgressOf(j, m)))
		}
		if j.Status.Ended() {
			delete(steps, j.ID)
		}
	}
	return text
}

func appendEvent(text []byte, name string, v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return text // no value of ours is without a JSON form
	}
	return fmt.Appendf(text, "event: %s\ndata: %s\n\n", name, data)
}

// seenEvents chooses what a caller sees of what happens.
type seenEvents struct {
	s      *Server
	who    caller
	owners map[string]string // of jobs that train, by id
}

// of is what the caller sees of a batch.
func (e *seenEvents) of(ctx context.Context, b scu.Batch) (scu.Batch, error) {
	if e.who.scope == scu.ScopeAdmin {
		return b, nil
	}
	own := scu.Batch{From: b.From, To: b.To}
	for _, m := range b.Metrics {
		owner, known := e.owners[m.Metrics.JobID]
		if !known {
			j, _, err := e.s.o.Broker.Job(ctx, m.Metrics.JobID)
			if err != nil && scu.CodeOf(err) != scu.CodeNotFound {
				return own, err
			}
			owner = j.Owner
			e.owners[m.Metrics.JobID] = owner
		}
		if e.who.sees(owner) {
			own.Metrics = append(own.Metrics, m)
		}
	}
	for _, s := range b.State {
		j := s.Event.Job
		if e.who.sees(j.Owner) {
			own.State = append(own.State, s)
		}
		if j.Status.Ended() {
			delete(e.owners, j.ID)
		}
	}
	return own, nil
}
