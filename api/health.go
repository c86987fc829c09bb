package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// healthPatience bounds what a question about the service's health waits for each part.
const healthPatience = 2 * time.Second

type healthReply struct {
	Status int
	Body   client.Health
}

// health asks every part that the service needs: what can't store, or is far behind, is
// told by name and not in detail, since anybody may ask.
func (s *Server) health(ctx context.Context, _ *struct{}) (*healthReply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.patience)
	defer cancel()
	h := &healthReply{200, client.Health{Status: client.Healthy, Timestamp: time.Now().UTC(), Version: s.o.Version}}
	var counts map[scu.Status]int
	parts := []struct {
		name string
		ask  func(context.Context) error
	}{
		{"log and queue", s.o.Broker.Ping},
		{"database", s.o.Store.Ping},
		{"job counts", func(ctx context.Context) (err error) { counts, err = s.o.Store.Counts(ctx, ""); return err }},
		{"projector", s.upToDate},
		{"read model", s.checked.ask},
		{"API keys", func(context.Context) error { return s.keysGone() }},
	}
	answers := make([]chan error, len(parts))
	for i, p := range parts {
		answers[i] = make(chan error, 1)
		go func() { answers[i] <- p.ask(ctx) }()
	}
	for i, p := range parts {
		if err := <-answers[i]; err != nil {
			s.log.WarnContext(ctx, "unhealthy", "part", p.name, "err", err)
			h.Status, h.Body.Status = 503, client.Unhealthy
			h.Body.Problems = append(h.Body.Problems, p.name)
		}
	}
	if copies, err := s.o.Broker.Copies(ctx); err == nil && copies.Kept > 1 {
		h.Body.Copies = &copies
	}
	if streams, err := s.o.Broker.Streams(ctx); err == nil {
		for _, u := range streams {
			if u.Full() >= scu.NearlyFull {
				h.Body.Warnings = append(h.Body.Warnings, fillsText(u))
			}
		}
	}
	short := s.o.Broker.Shortages()
	for i, why := range short {
		text := why.Message
		if i == len(short)-1 || short[i+1].Hint != why.Hint { // what to do is told once where it is the same
			text = why.Error()
		}
		h.Body.Warnings = append(h.Body.Warnings, text)
	}
	damage, verified := s.damaged.counts()
	if n := damage[scu.FileBlob] + damage[scu.AdapterBlob] + damage[scu.CheckpointBlob]; n > 0 {
		h.Body.Warnings = append(h.Body.Warnings, fmt.Sprintf("%d stored blobs are damaged or lost: scu blobs lists them", n))
	}
	if verified.Unread > 0 && !verified.Running() {
		h.Body.Warnings = append(h.Body.Warnings, fmt.Sprintf("%d stored blobs could not be read to verify them, and are read again every hour: the API's log says why", verified.Unread))
	}
	if halts, err := s.o.Broker.Halted(ctx); err == nil {
		h.Body.QueuePaused = halts.Queue
	}
	h.Body.ActiveJobs, h.Body.QueuedJobs = counts[scu.Running], counts[scu.Queued]
	return h, nil
}

// fillsText tells that a stream fills, and what comes of it.
func fillsText(u scu.StreamUse) string {
	what, then := "stream "+u.Name, "at 100% nothing more is stored there"
	switch u.Name {
	case scu.LogUse:
		what, then = "log of jobs", fmt.Sprintf("%d%% are kept for the jobs that have not ended; at 100%% no new ones are taken in: raise log-max-bytes", 100*u.Reserved/u.MaxBytes)
	case scu.MetricsUse:
		what, then = "stream of metrics", "at 100% the oldest steps go: raise metrics-max-bytes, or lower metrics-max-age"
	case string(scu.AdapterBlob), string(scu.CheckpointBlob), string(scu.FileBlob):
		what, then = "store of "+u.Name, "at 100% nothing more is stored there: raise store-max-bytes, or keep less (scu gc)"
	}
	return fmt.Sprintf("the %s takes %d%% of its limit; %s", what, int(100*u.Full()), then)
}

// upToDate waits until the read model has what the log has now.
func (s *Server) upToDate(ctx context.Context) error {
	end, err := s.o.Broker.End(ctx)
	if err != nil {
		return err
	}
	for {
		at, err := s.o.Store.Position(ctx)
		switch {
		case ctx.Err() != nil:
			return errors.New("the read model is behind the log")
		case err != nil:
			return err
		case at.Reached(end):
			return nil
		}
		_ = scu.Sleep(ctx, glance) // the next round tells that ctx ended
	}
}

// live answers as long as this process does.
func (s *Server) live(context.Context, *struct{}) (*struct{}, error) { return nil, nil }
