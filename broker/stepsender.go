package broker

import (
	"context"
	"encoding/json"

	"github.com/shannon-control/scu"
)

// stepSender sends a trainer's steps to arbiters: one question at a time, so that they are
// stored in their order, whichever arbiter answers, with all the steps that came meanwhile.
type stepSender struct {
	a    *Agent
	room chan struct{} // of capacity metricsInFlight: a token for each step that isn't stored
	in   chan json.RawMessage
	idle chan chan struct{} // who waits until all is stored
	stop context.CancelFunc
	over chan struct{}
}

func newStepSender(a *Agent) *stepSender {
	ctx, stop := context.WithCancel(context.Background())
	s := &stepSender{a: a, in: make(chan json.RawMessage, metricsInFlight), room: make(chan struct{}, metricsInFlight), idle: make(chan chan struct{}), stop: stop, over: make(chan struct{})}
	go s.run(ctx)
	return s
}

func (s *stepSender) close() {
	s.stop()
	<-s.over
}

// run sends until ctx ends.
func (s *stepSender) run(ctx context.Context) {
	defer close(s.over)
	for {
		var steps []json.RawMessage
		select {
		case m := <-s.in:
			steps = append(steps, m)
		case done := <-s.idle:
			if len(s.in) == 0 {
				close(done)
				continue
			}
			go func() { // after the steps before it
				select {
				case s.idle <- done:
				case <-ctx.Done():
				}
			}()
			continue
		case <-ctx.Done():
			return
		}
		for len(steps) < maxSteps && len(s.in) > 0 {
			steps = append(steps, <-s.in)
		}
		s.send(ctx, steps)
		for range steps {
			<-s.room
		}
	}
}

// maxSteps bounds the steps of one question: a step takes less than a kilobyte.
const maxSteps = 256

// send returns once the steps are stored, or nobody wants them: their attempt is over.
func (s *stepSender) send(ctx context.Context, steps []json.RawMessage) {
	for ctx.Err() == nil {
		_, err := s.a.ask(ctx, s.a.b.opts.timeout, askMetrics, "", question{Steps: steps})
		switch code := scu.CodeOf(err); {
		case err == nil, ctx.Err() != nil:
			return
		case code == scu.CodeConflict, code == scu.CodeNotFound, code == scu.CodeInvalid:
			s.a.b.log.Warn("metrics of an attempt that isn't this trainer's any more are dropped", "error", err)
			return
		}
		s.a.b.log.Warn("metrics are sent again", "error", err)
		s.a.pause(ctx)
	}
}

// PublishMetrics sends one step's metrics; see [scu.MetricsStream].
func (a *Agent) PublishMetrics(ctx context.Context, _ string, m scu.Metrics) error {
	s := a.metrics
	data, err := json.Marshal(m)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode metrics of job %s, step %d: %w", m.JobID, m.Step, err)
	}
	select {
	case s.room <- struct{}{}:
		s.in <- data // has room
		return nil
	case <-s.over:
		return scu.Errorf(scu.CodeUnavailable, "the agent is closed")
	case <-ctx.Done():
		return scu.Errorf(scu.CodeUnavailable, "waiting for earlier metrics to be stored: %w", context.Cause(ctx))
	}
}

// FlushMetrics returns when all that was published is stored; see [scu.MetricsStream].
func (a *Agent) FlushMetrics(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case a.metrics.idle <- done:
	case <-ctx.Done():
		return scu.Errorf(scu.CodeUnavailable, "%d metrics are not stored yet: %w", len(a.metrics.room), context.Cause(ctx))
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return scu.Errorf(scu.CodeUnavailable, "%d metrics are not stored yet: %w", len(a.metrics.room), context.Cause(ctx))
	}
}
