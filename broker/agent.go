package broker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/shannon-control/scu"
)

// Agent does for one trainer what it needs of the rest of the service by asking arbiters
// (see [Arbiter]), so that its login may do nothing else.
type Agent struct {
	b       *Broker
	login   string // whose name the questions bear
	trainer string

	metrics *stepSender

	mu     sync.Mutex
	claims map[string]*heldClaim // by job
}

var (
	_ scu.Attempts  = (*Agent)(nil)
	_ scu.WorkQueue = (*Agent)(nil)
)

// NewAgent makes the agent of a trainer over a connection with the login of a trainer, its
// own or, for further GPUs of a process, the one whose name it has with a number after it.
func NewAgent(b *Broker, login, trainer string) (*Agent, error) {
	if !SpeaksFor(login, trainer) {
		return nil, invalid("trainer name", trainer)
	}
	a := &Agent{b: b, login: login, trainer: trainer, claims: map[string]*heldClaim{}}
	a.metrics = newStepSender(a)
	return a, nil
}

// Close ends what the agent does by itself. Steps that are not stored yet are lost.
func (a *Agent) Close() { a.metrics.close() }

// errNobody means that no arbiter is there.
var errNobody = scu.Errorf(scu.CodeUnavailable, "no API or projector answers trainers").WithHint("start one; one of an older version doesn't")

// ask asks once, and waits so long at most.
func (a *Agent) ask(ctx context.Context, wait time.Duration, verb, arbiter string, q question) (answer, error) {
	q.Trainer = a.trainer
	data, err := json.Marshal(q)
	if err != nil {
		return answer{}, scu.Errorf(scu.CodeInternal, "ask an arbiter: %w", err)
	}
	m, err := a.send(ctx, a.b.nc, wait, &nats.Msg{Subject: askSubject(a.login, verb, arbiter), Data: data})
	if err != nil {
		return answer{}, err
	}
	return told(m)
}

// send sends a question and returns its answer.
func (a *Agent) send(ctx context.Context, nc *nats.Conn, wait time.Duration, m *nats.Msg) (*nats.Msg, error) {
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	reply, err := nc.RequestMsgWithContext(within, m)
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errNobody
	case a.b.deniedTo(askRoot):
		return nil, scu.Errorf(scu.CodeForbidden, "this login may not ask an arbiter: it is of an older version, or another trainer's").WithHint("write a new one with scu nats-auth")
	}
	return nil, fault(err, "ask an arbiter")
}

// insist asks until there is an answer other than that it can't be given now, for as long
// as a claim lasts, and a few times at least.
func (a *Agent) insist(ctx context.Context, verb, arbiter string, q question) (answer, error) {
	for until := time.Now().Add(max(a.b.opts.AckWait, publishTries*a.b.opts.timeout)); ; {
		out, err := a.ask(ctx, a.b.opts.timeout, verb, arbiter, q)
		if scu.CodeOf(err) != scu.CodeUnavailable || ctx.Err() != nil || time.Now().After(until) {
			return out, err
		}
		if arbiter != "" && errors.Is(err, errNobody) { // it won't come back
			return out, err
		}
		a.b.log.Warn("ask an arbiter again", "what", verb, "job", q.Job, "error", err)
		a.pause(ctx)
	}
}

// pause waits a moment before something is tried again.
func (a *Agent) pause(ctx context.Context) { _ = scu.Sleep(ctx, retryWait) }

// Ping asks an arbiter whether the service works.
func (a *Agent) Ping(ctx context.Context) error {
	_, err := a.ask(ctx, a.b.opts.timeout, askPing, "", question{})
	return err
}

// Reach returns whether there is an arbiter and this login may ask it: CodeUnavailable if
// none answers, CodeForbidden if the server won't have it ask.
func (a *Agent) Reach(ctx context.Context) error {
	m := &nats.Msg{Subject: askSubject(a.login, askPing, ""), Data: []byte("{}")}
	_, err := a.send(ctx, a.b.nc, a.b.opts.timeout, m)
	return err
}

// Say reports on a job; see [scu.Attempts].
func (a *Agent) Say(ctx context.Context, id, _ string, w scu.Word) (scu.Job, error) {
	if w.Type == scu.EventStarted {
		return a.start(ctx, id)
	}
	out, err := a.insist(ctx, askSay, "", question{Job: id, ID: nuid.Next(), Word: &w})
	return out.job(), err
}

// start takes the offer of a job. If the arbiter dies before it answers, the log knows
// whether it began the attempt.
func (a *Agent) start(ctx context.Context, id string) (scu.Job, error) {
	c := a.claim(id)
	if c == nil {
		return scu.Job{}, scu.Errorf(scu.CodeInternal, "job %s was not offered", id)
	}
	out, err := a.insist(ctx, askStart, c.arbiter, question{Job: id, Offer: c.offer})
	job := out.job()
	if scu.CodeOf(err) == scu.CodeUnavailable {
		fate, e := a.Fate(ctx, id, a.trainer)
		if e == nil && fate.Status == scu.Running && fate.Trainer == a.trainer && fate.Attempt == c.job.Attempt+1 {
			job, err = fate, nil
		}
	}
	if err == nil {
		c.begin(job)
	}
	return job, err
}

// Fate returns a job as it stands; see [scu.Attempts].
func (a *Agent) Fate(ctx context.Context, id, _ string) (scu.Job, error) {
	if !scu.ValidJobID(id) {
		return scu.Job{}, scu.NoJob(id)
	}
	out, err := a.insist(ctx, askFate, "", question{Job: id})
	return out.job(), err
}

// Announce says that the trainer is there; see [scu.Roster].
func (a *Agent) Announce(ctx context.Context, p scu.Presence) error {
	_, err := a.ask(ctx, a.b.opts.timeout, askPresence, "", question{Presence: &p})
	return err
}

// job is the answer's job; the zero Job if it has none.
func (a answer) job() scu.Job {
	if a.Job == nil {
		return scu.Job{}
	}
	return *a.Job
}

// claim is what the agent holds of a job; nil if nothing.
func (a *Agent) claim(id string) *heldClaim {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.claims[id]
}

// running is the job that the trainer runs and its attempt; "" if it runs none.
func (a *Agent) running() (id string, attempt int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, c := range a.claims {
		if c.attempt > 0 {
			return id, c.attempt
		}
	}
	return "", 0
}

// deniedTo reports whether the server has refused this user to publish below a subject.
func (b *Broker) deniedTo(root string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.denied, `"`+root)
}
