package broker

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
)

// pullTimeout is how long the server may take to answer a pull.
const pullTimeout = 2 * time.Second

// puller asks levels for jobs, one pull at a time, all answered on one inbox.
type puller struct {
	b       *Broker
	inbox   string
	answers *nats.Subscription

	mu    sync.Mutex
	count int
	want  *pull // the pull that waits
}

// pull is one request for one job of a level.
type pull struct {
	level  level
	reply  string
	answer chan *nats.Msg // of capacity 1
}

func newPuller(b *Broker) (*puller, error) {
	p := &puller{b: b, inbox: b.nc.NewInbox()}
	var err error
	if p.answers, err = b.nc.Subscribe(p.inbox+".*", p.answered); err != nil {
		return nil, fault(err, "open the queue")
	}
	return p, nil
}

func (p *puller) close() { p.answers.Unsubscribe() }

// request is one pull and its answer; nil if the level is empty or gone.
func (p *puller) request(ctx context.Context, l level, wait time.Duration) (*nats.Msg, error) {
	if !p.b.nc.IsConnected() { // a request in the send buffer would claim a job later, for nobody
		return nil, scu.Errorf(scu.CodeUnavailable, "not connected to NATS")
	}
	want := p.begin(l)
	defer p.end(want)
	body := `{"batch":1,"no_wait":true}`
	if wait > 0 {
		body = fmt.Sprintf(`{"batch":1,"expires":%d}`, wait.Nanoseconds())
	}
	if err := p.b.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+jobsStream+"."+l.durable(), want.reply, []byte(body)); err != nil {
		return nil, fault(err, "ask for a job")
	}
	timeout := time.NewTimer(pullTimeout + wait)
	defer timeout.Stop()
	select {
	case m := <-want.answer:
		if m.Subject == want.reply { // a status, not a job: nothing there
			return nil, nil
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, scu.Errorf(scu.CodeUnavailable, "the queue did not answer within %v", pullTimeout)
	}
}

func (p *puller) begin(l level) *pull {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.want = &pull{level: l, reply: p.inbox + "." + strconv.Itoa(p.count), answer: make(chan *nats.Msg, 1)}
	return p.want
}

// end gives up waiting. An answer that came meanwhile goes back.
func (p *puller) end(want *pull) {
	p.mu.Lock()
	p.want = nil
	p.mu.Unlock()
	select {
	case m := <-want.answer:
		p.refuse(m)
	default:
	}
}

// waiting reports whether a pull waits for its answer.
func (p *puller) waiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want != nil
}

// answered takes the answers of all pulls. A job comes under its own subject, a
// status under the reply's. A job that no pull waits for any more goes back.
func (p *puller) answered(m *nats.Msg) {
	l, _, isJob := parseJob(m.Subject)
	p.mu.Lock()
	w := p.want
	wanted := w != nil && (isJob && w.level == l || w.reply == m.Subject)
	if wanted {
		p.want = nil
		w.answer <- m // has room; under the lock, so that end finds it
	}
	p.mu.Unlock()
	if !wanted {
		p.refuse(m)
	}
}

// refuse gives back a job that came too late.
func (p *puller) refuse(m *nats.Msg) {
	if l, _, ok := parseJob(m.Subject); ok {
		m.Nak()
		p.b.ring(l)
	}
}
