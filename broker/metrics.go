package broker

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"scu"
)

// metricsInFlight is how many steps may be on their way to the server: so many a
// trainer goes on when the server is away.
const metricsInFlight = 512

// metricsLog is what was published and is not yet known to be stored.
type metricsLog struct {
	js   jetstream.JetStream // of its own: no retries behind our back, they would change the order
	mu   sync.Mutex
	open []sentMetrics // oldest first
}

type sentMetrics struct {
	subject string
	data    []byte
	ack     jetstream.PubAckFuture // nil: could not even be sent
}

func (l *metricsLog) init(nc *nats.Conn, timeout time.Duration) (err error) {
	l.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2*metricsInFlight), jetstream.WithPublishAsyncTimeout(timeout))
	return err
}

// PublishMetrics sends one step's metrics, in order, without waiting for the
// server, as long as no more than 512 are unanswered. What the server did not
// store is sent again, with all that followed it; so a step may be stored twice,
// never lost: readers take one of each (attempt, step). FlushMetrics at the end.
func (b *Broker) PublishMetrics(ctx context.Context, trainer string, m scu.Metrics) error {
	if !ValidTrainer(trainer) {
		return invalid("trainer's name", trainer)
	}
	if !scu.ValidJobID(m.JobID) {
		return invalid("job id", m.JobID)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return scu.Errorf(scu.CodeInternal, "encode metrics of job %s, step %d: %w", m.JobID, m.Step, err)
	}
	l := &b.metrics
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(ctx, metricsInFlight-1); err != nil {
		return err
	}
	s := sentMetrics{subject: metricsSubject(m.JobID, trainer), data: data}
	s.send(l.js)
	l.open = append(l.open, s)
	return nil
}

// FlushMetrics returns when all that was published is stored.
func (b *Broker) FlushMetrics(ctx context.Context) error {
	b.metrics.mu.Lock()
	defer b.metrics.mu.Unlock()
	return b.metrics.settle(ctx, 0)
}

// settle drops what is stored, from the oldest on, and waits until at most room
// are open.
func (l *metricsLog) settle(ctx context.Context, room int) error {
	for len(l.open) > 0 {
		stored, known := l.open[0].wait(ctx, len(l.open) > room)
		switch {
		case stored:
			l.open = l.open[1:]
		case known:
			select { // not at full speed into a server that is away
			case <-ctx.Done():
			case <-time.After(retryWait):
			}
			for i := range l.open {
				l.open[i].send(l.js)
			}
		case ctx.Err() == nil:
			return nil // the oldest is still on its way, and there is room
		}
		if ctx.Err() != nil && len(l.open) > room {
			return scu.Errorf(scu.CodeUnavailable, "%d metrics are not stored: %w", len(l.open), context.Cause(ctx))
		}
	}
	return nil
}

func (s *sentMetrics) send(js jetstream.JetStream) {
	s.ack, _ = js.PublishAsync(s.subject, s.data, jetstream.WithRetryAttempts(0))
}

// wait says whether the message was stored, and whether that is known; block
// waits for it.
func (s *sentMetrics) wait(ctx context.Context, block bool) (stored, known bool) {
	if s.ack == nil {
		return false, true
	}
	var done <-chan struct{}
	if block {
		done = ctx.Done()
	} else {
		closed := make(chan struct{})
		close(closed)
		done = closed
	}
	select { // an answer that is there goes before done
	case <-s.ack.Ok():
		return true, true
	case <-s.ack.Err():
		return false, true
	default:
	}
	select {
	case <-s.ack.Ok():
		return true, true
	case <-s.ack.Err():
		return false, true
	case <-done:
		return false, false
	}
}

// SubscribeMetrics gives a job's metrics from its first step on, then live, each
// (attempt, step) once and in order; what an attempt says after its successor has
// spoken is left out. A new attempt may begin at an earlier step than the old one
// reached. The channel closes when ctx ends.
func (b *Broker) SubscribeMetrics(ctx context.Context, jobID string) (<-chan scu.Metrics, error) {
	if !scu.ValidJobID(jobID) {
		return nil, noJob(jobID)
	}
	if _, err := b.stream(ctx, metricsStream); err != nil {
		return nil, err
	}
	out := make(chan scu.Metrics, 64)
	go func() {
		defer close(out)
		attempt, step := 0, -1
		b.follow(ctx, metricsStream, metricsSubject(jobID, "*"), 0, func(seq uint64, data []byte) error {
			var m scu.Metrics
			if err := json.Unmarshal(data, &m); err != nil {
				b.log.Error("unreadable metrics", "sequence", seq, "error", err)
				return nil
			}
			if m.Attempt < attempt || m.Attempt == attempt && m.Step <= step {
				return nil
			}
			attempt, step = m.Attempt, m.Step
			select {
			case out <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return out, nil
}
