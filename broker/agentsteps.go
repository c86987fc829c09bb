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
	room chan struct{} // of capacity metricsInFlight: a token for each entry that isn't done
	in   chan sentStep
	stop context.CancelFunc
	over chan struct{}
}

// sentStep is a step on its way, or a mark between two.
type sentStep struct {
	data   json.RawMessage // nil for a mark
	stored chan struct{}   // of a mark: closed once all before it is stored
}

func newStepSender(a *Agent) *stepSender {
	ctx, stop := context.WithCancel(context.Background())
	s := &stepSender{a: a, in: make(chan sentStep, metricsInFlight), room: make(chan struct{}, metricsInFlight), stop: stop, over: make(chan struct{})}
	go s.run(ctx)
	return s
}

func (s *stepSender) close() {
	s.stop()
	<-s.over
}

// put takes an entry as soon as there is room for it.
func (s *stepSender) put(ctx context.Context, e sentStep) error {
	if err := enter(ctx, s.room, s.over); err != nil {
		return err
	}
	s.in <- e // has room
	return nil
}

var errAgentClosed = scu.Errorf(scu.CodeUnavailable, "the agent is closed")

// run sends until ctx ends.
func (s *stepSender) run(ctx context.Context) {
	defer close(s.over)
	for {
		var taken []sentStep
		select {
		case e := <-s.in:
			taken = append(taken, e)
		case <-ctx.Done():
			return
		}
		for len(taken) < maxSteps && len(s.in) > 0 {
			taken = append(taken, <-s.in)
		}
		var steps []json.RawMessage
		for _, e := range taken {
			if e.data != nil {
				steps = append(steps, e.data)
			}
		}
		if len(steps) > 0 {
			s.send(ctx, steps)
		}
		if ctx.Err() != nil {
			return
		}
		for _, e := range taken {
			if e.stored != nil {
				close(e.stored)
			}
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
	data, err := json.Marshal(m)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode metrics of job %s, step %d: %w", m.JobID, m.Step, err)
	}
	return a.metrics.put(ctx, sentStep{data: data})
}

// FlushMetrics returns when all that was published is stored; see [scu.MetricsStream].
func (a *Agent) FlushMetrics(ctx context.Context) error {
	mark := sentStep{stored: make(chan struct{})}
	if err := a.metrics.put(ctx, mark); err != nil {
		return err
	}
	select {
	case <-mark.stored:
		return nil
	case <-a.metrics.over:
		return errAgentClosed
	case <-ctx.Done():
		return scu.Errorf(scu.CodeUnavailable, "not all metrics are stored yet: %w", context.Cause(ctx))
	}
}
