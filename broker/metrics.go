package broker

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// metricsInFlight bounds the steps on their way to the server: a trainer can run this far
// ahead of an unreachable server.
const metricsInFlight = 512

// metricsLog is what was published and is not yet known to be stored.
type metricsLog struct {
	nc *nats.Conn
	js jetstream.JetStream // of its own: no retries behind our back, they would change the order

	turn   chan struct{} // of capacity 1: taken by whoever uses what is below
	open   []sentMetrics // oldest first
	resent time.Time
}

type sentMetrics struct {
	subject    string
	data       []byte
	ack        jetstream.PubAckFuture // nil: could not be sent
	connection uint64                 // which one it was sent on, counted by reconnects
}

// init makes a connection of its own, one that keeps nothing back while it is
// broken: what is sent then would arrive before what is sent again.
func (l *metricsLog) init(url string, opts []nats.Option, timeout time.Duration) (err error) {
	l.turn = make(chan struct{}, 1)
	l.nc, err = nats.Connect(url, append(opts, nats.ReconnectBufSize(-1))...)
	if err != nil {
		return err
	}
	l.js, err = jetstream.New(l.nc, jetstream.WithPublishAsyncTimeout(timeout),
		jetstream.WithPublishAsyncMaxPending(1<<20)) // ours is the bound; what was sent again still counts there as pending
	return err
}

// PublishMetrics sends one step's metrics, in order, without waiting for the
// server, as long as no more than 512 are unanswered. What the server did not
// store is sent again, with all that followed it; so a step may be stored twice,
// never lost: readers take one of each (attempt, step). FlushMetrics at the end.
func (b *Broker) PublishMetrics(ctx context.Context, trainer string, m scu.Metrics) error {
	if !scu.ValidTrainer(trainer) {
		return invalid("trainer name", trainer)
	}
	if !scu.ValidJobID(m.JobID) {
		return invalid("job id", m.JobID)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode metrics of job %s, step %d: %w", m.JobID, m.Step, err)
	}
	l := &b.metrics
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.leave()
	if err := l.settle(ctx, metricsInFlight-1); err != nil {
		return err
	}
	l.open = append(l.open, sentMetrics{subject: metricsSubject(m.JobID, trainer), data: data})
	if n := len(l.open); n == 1 || l.open[n-2].live(l.nc) { // else its turn comes with theirs
		l.send(&l.open[n-1])
	}
	return nil
}

// FlushMetrics returns when all that was published is stored.
func (b *Broker) FlushMetrics(ctx context.Context) error {
	if err := b.metrics.take(ctx); err != nil {
		return err
	}
	defer b.metrics.leave()
	return b.metrics.settle(ctx, 0)
}

func (l *metricsLog) take(ctx context.Context) error { return enter(ctx, l.turn, nil) }

// enter takes one of the places in room, for metrics that wait to be stored: at once if one is free,
// whether ctx has ended or not. over, which may be nil, tells that an agent was closed.
func enter(ctx context.Context, room chan<- struct{}, over <-chan struct{}) error {
	select {
	case room <- struct{}{}:
		return nil
	default:
	}
	select {
	case room <- struct{}{}:
		return nil
	case <-over:
		return errAgentClosed
	case <-ctx.Done():
		return scu.Errorf(scu.CodeUnavailable, "waiting for earlier metrics to be stored: %w", context.Cause(ctx))
	}
}

func (l *metricsLog) leave() { <-l.turn }

// settle drops what is stored, oldest first, sends again what was lost, and waits
// until at most room are open.
func (l *metricsLog) settle(ctx context.Context, room int) error {
	for {
		for len(l.open) > 0 && l.open[0].stored() {
			l.open = l.open[1:]
		}
		if len(l.open) > 0 && !l.open[0].live(l.nc) && l.nc.IsConnected() && time.Since(l.resent) > retryWait {
			for i := range l.open {
				l.send(&l.open[i])
			}
			l.resent = time.Now()
		}
		if len(l.open) <= room {
			return nil
		}
		var ok <-chan *jetstream.PubAck
		if a := l.open[0].ack; a != nil {
			ok = a.Ok()
		}
		look := time.NewTimer(retryWait) // whether it was lost
		select {
		case <-ok:
			l.open = l.open[1:]
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
			return scu.Errorf(scu.CodeUnavailable, "%d metrics are not stored yet: %w", len(l.open), context.Cause(ctx))
		}
		look.Stop()
	}
}

func (l *metricsLog) send(s *sentMetrics) {
	s.ack, s.connection = nil, l.nc.Stats().Reconnects
	if l.nc.IsConnected() {
		s.ack, _ = l.js.PublishAsync(s.subject, s.data, jetstream.WithRetryAttempts(0))
	}
}

// stored reports, once, whether the server has confirmed the message.
func (s *sentMetrics) stored() bool {
	if s.ack == nil {
		return false
	}
	select {
	case <-s.ack.Ok():
		return true
	default:
		return false
	}
}

// live reports whether the server may still confirm the message. On a connection
// that broke, it and all after it are lost, or their answers are.
func (s *sentMetrics) live(nc *nats.Conn) bool {
	if s.ack == nil || s.connection != nc.Stats().Reconnects {
		return false
	}
	select {
	case <-s.ack.Err():
		s.ack = nil
		return false
	default:
		return true
	}
}

// FollowMetrics gives a job's metrics as they are stored; see [scu.MetricsStream].
func (b *Broker) FollowMetrics(ctx context.Context, jobID string) (<-chan scu.MetricsEntry, error) {
	if !scu.ValidJobID(jobID) {
		return nil, scu.NoJob(jobID)
	}
	return b.jobSteps.follow(ctx, jobID, metricsSubject(jobID, "*"), 0)
}

func parseMetricsEntry(seq uint64, data []byte) (scu.MetricsEntry, error) {
	var m scu.Metrics
	if err := json.Unmarshal(data, &m); err != nil {
		return scu.MetricsEntry{Seq: seq}, err
	}
	return scu.MetricsEntry{Seq: seq, Metrics: m}, nil
}

// LastMetrics returns the entry of a job that was stored last; CodeNotFound if there
// is none.
func (b *Broker) LastMetrics(ctx context.Context, jobID string) (e scu.MetricsEntry, err error) {
	if !scu.ValidJobID(jobID) {
		return e, scu.NoJob(jobID)
	}
	m, err := b.last(ctx, metricsStream, metricsSubject(jobID, "*"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return e, scu.Errorf(scu.CodeNotFound, "job %s has no metrics", jobID)
	}
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(m.Data, &e.Metrics); err != nil {
		e.Metrics = scu.Metrics{} // FollowMetrics logs it
	}
	e.Seq = m.Sequence
	return e, nil
}
