package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/shannon-control/scu"
)

// askedQueue is a trainer's [scu.Queue], which an arbiter looks after.
type askedQueue struct {
	a       *Agent
	classes []string
	arbiter string // which has answered last; "" is any
	cancels *cancels
}

// Queue opens the queue; see [scu.WorkQueue].
func (a *Agent) Queue(_ context.Context, trainer string, classes []string) (scu.Queue, error) {
	if trainer != a.trainer {
		return nil, invalid("trainer name", trainer)
	}
	q := &askedQueue{a: a, classes: slices.Clone(classes)}
	var err error
	q.cancels, err = a.b.listenForCancels(a.login)
	return q, err
}

// Close ends the queue. Claims keep their state.
func (q *askedQueue) Close() { q.cancels.close() }

// Next waits for a job; see [scu.Queue].
func (q *askedQueue) Next(ctx context.Context) (scu.Claim, error) {
	q.a.mu.Lock()
	clear(q.a.claims) // of jobs that are over
	q.a.mu.Unlock()
	for {
		out, err := q.a.ask(ctx, pollTime+q.patience(), askNext, q.arbiter, question{Classes: q.classes})
		switch {
		case ctx.Err() != nil:
			q.leave()
			return nil, context.Cause(ctx)
		case err != nil && q.arbiter != "": // it may be gone: at once to another
			q.arbiter = ""
		case scu.CodeOf(err) == scu.CodeUnavailable:
			q.a.b.log.Warn("queue", "trainer", q.a.trainer, "error", err)
			q.a.pause(ctx)
		case err != nil:
			return nil, err
		case out.Offer == "":
			q.arbiter = out.Arbiter
		default:
			q.arbiter = out.Arbiter
			c := &heldClaim{a: q.a, q: q, arbiter: out.Arbiter, offer: out.Offer, job: out.job(), ticket: out.Ticket, claimTime: out.ClaimTime, stopping: make(chan struct{})}
			q.a.mu.Lock()
			q.a.claims[c.job.ID] = c
			q.a.mu.Unlock()
			return c, nil
		}
	}
}

// patience is how long an arbiter may take to answer beyond what it waits for a job.
func (q *askedQueue) patience() time.Duration { return min(time.Second, q.a.b.opts.timeout) }

// leave tells the arbiter that the trainer waits no more.
func (q *askedQueue) leave() {
	if q.arbiter == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.patience())
	defer cancel()
	q.a.ask(ctx, q.patience(), askLeave, q.arbiter, question{}) // else it sees so by itself, soon
}

// heldClaim is a [scu.Claim] that an arbiter took for its trainer: an offer at first, then
// an attempt that the log has.
type heldClaim struct {
	a         *Agent
	q         *askedQueue
	arbiter   string
	offer     string
	job       scu.Job
	ticket    *ticket
	claimTime time.Duration
	stopping  chan struct{}

	attempt int // 0 until it is begun; guarded by the agent's mu
}

func (c *heldClaim) Job() scu.Job { return c.job }

func (c *heldClaim) Stopping() <-chan struct{} { return c.stopping }

// begin notes that the log has the attempt.
func (c *heldClaim) begin(j scu.Job) {
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	c.attempt = j.Attempt
}

// begun returns the attempt; 0 if the job is an offer still.
func (c *heldClaim) begun() int {
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	return c.attempt
}

// Ack takes the job out of the queue; see [scu.Claim].
func (c *heldClaim) Ack() error {
	if c.begun() == 0 { // it was not to be started: the arbiter knows why
		return c.Nak(0)
	}
	ctx, cancel := c.a.b.bound(context.Background())
	defer cancel()
	_, err := c.a.insist(ctx, askDone, "", question{Job: c.job.ID, Ticket: c.ticket})
	return err
}

// Nak returns the job to the queue; see [scu.Claim].
func (c *heldClaim) Nak(delay time.Duration) error {
	ctx, cancel := c.a.b.bound(context.Background())
	defer cancel()
	attempt := c.begun()
	if attempt == 0 {
		_, err := c.a.insist(ctx, askRefuse, c.arbiter, question{Job: c.job.ID, Offer: c.offer, Delay: delay})
		if errors.Is(err, errNobody) { // it gave its offers back, or died and the claim ends
			return nil
		}
		return err
	}
	_, err := c.a.insist(ctx, askBack, "", question{Job: c.job.ID, Attempt: attempt, Ticket: c.ticket, Delay: delay})
	return err
}

// Hold keeps the claim alive while attempt runs; see [scu.Claim]. Cancels are seen at
// once, and in any case within a tenth of the claim time.
func (c *heldClaim) Hold(ctx context.Context, attempt int) (held context.Context, release context.CancelFunc) {
	held, cancel := context.WithCancelCause(ctx)
	look := c.q.cancels.watch(c.job.ID)
	every := max(c.claimTime/10, 10*time.Millisecond)
	go func() {
		defer c.q.cancels.unwatch(c.job.ID, look)
		told := false
		for {
			reconnected := c.a.b.nextReconnect()
			out, err := c.a.ask(held, max(c.claimTime/5, retryWait), askHold, "", question{Job: c.job.ID, Attempt: attempt, Ticket: c.ticket})
			again := every
			switch code := scu.CodeOf(err); {
			case held.Err() != nil:
				return
			case code == scu.CodeCancelled, code == scu.CodeConflict, code == scu.CodeNotFound:
				cancel(err)
				return
			case err != nil:
				c.a.b.log.Warn("sign of life", "job", c.job.ID, "error", err)
				again = min(every, retryWait)
			case out.job().Stopping && !told:
				told = true
				close(c.stopping)
			}
			select {
			case <-held.Done():
			case <-time.After(again):
			case <-look:
			case <-reconnected:
			}
		}
	}()
	return held, func() { cancel(context.Canceled) }
}
