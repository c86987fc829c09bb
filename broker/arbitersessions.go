package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/shannon-control/scu"
)

const (
	// pollTime is how long a trainer's question for a job waits for one.
	pollTime = 2 * time.Second
	// pollGap is how long it may be until the trainer asks again.
	pollGap = time.Second
	// offerTime is how long a job is kept for the trainer that it was offered to.
	offerTime = 2 * time.Second
	// replayTime is how long the answer to start can be asked for again.
	replayTime = time.Minute
	// sessionTime is how long an arbiter remembers a trainer that asks for no job.
	sessionTime = 24 * time.Hour
	// maxClasses bounds the classes that a trainer takes.
	maxClasses = 256
)

// session is a trainer that asks one arbiter for jobs. The arbiter waits in the queue for
// it as long as it asks, and remembers whose turn is next for longer.
type session struct {
	classes []string
	claims  chan *claim   // jobs for it, one at a time
	wanted  chan struct{} // of capacity 1: it asks
	over    chan struct{} // closed when the session has ended
	end     context.CancelFunc
	idle    *time.Timer // makes it wait no more
	unused  *time.Timer // ends it

	mu      sync.Mutex
	poll    chan struct{}      // closed when another question takes the place of the one that waits
	waiting context.CancelFunc // ends the waiting; nil if nobody waits
}

// session finds or begins a trainer's session.
func (a *Arbiter) session(ctx context.Context, q question) (*session, error) {
	a.mu.Lock()
	s := a.sessions[q.Trainer]
	a.mu.Unlock()
	if s != nil && slices.Equal(s.classes, q.Classes) && s.unused.Reset(sessionTime) {
		return s, nil
	}
	if s != nil {
		s.end()
		select {
		case <-s.over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if len(q.Classes) > maxClasses {
		return nil, scu.Errorf(scu.CodeInvalid, "trainer %s takes %d classes, more than %d", q.Trainer, len(q.Classes), maxClasses)
	}
	queue, err := a.b.Queue(ctx, q.Trainer, q.Classes)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	if a.sessions[q.Trainer] != nil { // another question of the trainer was faster
		a.mu.Unlock()
		queue.Close()
		return a.session(ctx, q)
	}
	s = &session{classes: slices.Clone(q.Classes), claims: make(chan *claim), wanted: make(chan struct{}, 1), over: make(chan struct{})}
	ctx, s.end = context.WithCancel(ctx)
	s.idle = time.AfterFunc(pollTime+pollGap, s.rest)
	s.unused = time.AfterFunc(sessionTime, s.end)
	a.sessions[q.Trainer] = s
	a.mu.Unlock()
	a.work.Go(func() {
		s.wait(ctx, queue)
		a.mu.Lock()
		delete(a.sessions, q.Trainer)
		a.mu.Unlock()
		s.idle.Stop()
		s.unused.Stop()
		queue.Close()
		close(s.over)
	})
	return s, nil
}

// wait takes jobs for the trainer, one for each time that it asks, until ctx ends.
func (s *session) wait(ctx context.Context, q scu.Queue) {
	for ctx.Err() == nil {
		select {
		case <-s.wanted:
		case <-ctx.Done():
			return
		}
		waiting, rest := context.WithCancel(ctx)
		s.mu.Lock()
		s.waiting = rest
		s.mu.Unlock()
		next, err := q.Next(waiting)
		rest()
		if err != nil {
			continue
		}
		c := next.(*claim)
		select {
		case s.claims <- c:
			select {
			case <-s.wanted: // asked again while it waited for this one
			default:
			}
		case <-time.After(pollGap):
			c.Nak(0)
		case <-ctx.Done():
			c.Nak(0)
		}
	}
}

// rest ends the waiting for a job, until the trainer asks again.
func (s *session) rest() {
	s.mu.Lock()
	rest := s.waiting
	s.mu.Unlock()
	if rest != nil {
		rest()
	}
}

// enter notes that the trainer asks. Another question of it that still waits is answered
// with nothing: who asked it has given up.
func (s *session) enter() (superseded <-chan struct{}) {
	s.idle.Reset(pollTime + pollGap)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll != nil {
		close(s.poll)
	}
	s.poll = make(chan struct{})
	select {
	case s.wanted <- struct{}{}:
	default:
	}
	return s.poll
}

// next waits a while for a job and offers it.
func (a *Arbiter) next(ctx context.Context, q question) (answer, error) {
	s, err := a.session(ctx, q)
	if err != nil {
		return answer{}, err
	}
	superseded := s.enter()
	timeout := time.NewTimer(pollTime)
	defer timeout.Stop()
	select {
	case c := <-s.claims:
		return a.offer(q.Trainer, c), nil
	case <-timeout.C:
	case <-superseded:
	case <-s.over:
	case <-ctx.Done():
	}
	return answer{}, nil
}

// leave takes note that a trainer waits no more.
func (a *Arbiter) leave(_ context.Context, q question) (answer, error) {
	a.mu.Lock()
	s := a.sessions[q.Trainer]
	a.mu.Unlock()
	if s != nil {
		s.rest()
	}
	return answer{}, nil
}

// offer is a job that was taken out of the queue for a trainer.
type offer struct {
	trainer string
	claim   *claim
	turn    chan struct{} // of capacity 1: taken by whoever decides on it
	decided bool
	job     scu.Job // as it was started, if it was
	timer   *time.Timer
}

func (a *Arbiter) offer(trainer string, c *claim) answer {
	id := nuid.Next()
	o := &offer{trainer: trainer, claim: c, turn: make(chan struct{}, 1)}
	a.mu.Lock()
	closed := a.closed
	if !closed {
		a.offers[id] = o
	}
	a.mu.Unlock()
	if closed { // nobody would return it
		c.Nak(0)
		return answer{}
	}
	o.timer = time.AfterFunc(min(offerTime, a.b.opts.AckWait/2), func() {
		a.forget(id)
		o.expire()
	})
	job := c.Job()
	return answer{Offer: id, Job: &job, Ticket: c.ticket(), ClaimTime: a.b.opts.AckWait}
}

// expire returns a job that the trainer did not take.
func (o *offer) expire() {
	o.turn <- struct{}{}
	defer func() { <-o.turn }()
	if !o.decided {
		o.decided = true
		o.claim.Nak(0)
	}
}

func (a *Arbiter) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.offers, id)
}

// decide finds an offer that was made to a trainer and takes the turn to decide on it.
func (a *Arbiter) decide(ctx context.Context, q question) (o *offer, done func(), err error) {
	a.mu.Lock()
	o = a.offers[q.Offer]
	a.mu.Unlock()
	if o == nil || o.trainer != q.Trainer {
		return nil, nil, scu.Errorf(scu.CodeConflict, "the offer of a job is over: it went to another")
	}
	select {
	case o.turn <- struct{}{}:
		return o, func() { <-o.turn }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// start begins the attempt of an offered job. The same question again has the same answer.
func (a *Arbiter) start(ctx context.Context, q question) (answer, error) {
	o, done, err := a.decide(ctx, q)
	if err != nil {
		return answer{}, err
	}
	defer done()
	if o.decided {
		if o.job.ID == "" {
			return answer{}, scu.Errorf(scu.CodeConflict, "the offer of a job is over: it went to another")
		}
		return answer{Job: &o.job}, nil
	}
	o.decided = true
	job, err := a.b.Say(ctx, o.claim.id, q.Trainer, scu.Word{Type: scu.EventStarted})
	if err != nil {
		a.forget(q.Offer)
		if fate, e := a.b.Fate(ctx, o.claim.id, q.Trainer); e == nil && !fate.Status.InQueue() {
			o.claim.Ack()
		} else {
			o.claim.Nak(0)
		}
		return answer{}, err
	}
	o.job = job
	o.timer.Stop()
	time.AfterFunc(replayTime, func() { a.forget(q.Offer) })
	return answer{Job: &job}, nil
}

// refuse returns an offered job.
func (a *Arbiter) refuse(ctx context.Context, q question) (answer, error) {
	o, done, err := a.decide(ctx, q)
	if err != nil {
		return answer{}, nil // it has gone back already
	}
	defer done()
	a.forget(q.Offer)
	if o.decided {
		return answer{}, nil
	}
	o.decided = true
	o.timer.Stop()
	return answer{}, o.claim.Nak(max(0, q.Delay))
}
