package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

const (
	pullTimeout = 2 * time.Second
	retryWait   = 250 * time.Millisecond // after an error of the connection
	bellGroup   = "idle"                 // queue group: a bell wakes one idle trainer

	// The server rings the bell and tells a level of its new job at the same time,
	// in no order. So a pull that a bell asked for waits for the job for settleTime,
	// and a trainer that has just become idle looks again after firstRescan, then
	// ever more seldom.
	settleTime  = 100 * time.Millisecond
	firstRescan = 4 * time.Millisecond
)

// Queue hands a trainer the jobs of the classes that it can run: the highest
// priority first, within a priority the earlier class of the list, within a class
// the oldest job.
//
// Each (class, priority) in use is a durable consumer, a level. An idle trainer
// first joins the doorbell of its classes, then looks at every level, so no job
// comes unheard between the two; after that it sleeps until the bell rings. A bell
// reaches one idle trainer; who takes a job rings on for what else there is. Jobs
// that are handed out again after a trainer's death ring no bell: for them every
// idle trainer looks at all levels now and then.
type Queue struct {
	b       *Broker
	trainer string
	classes []string
	answers *nats.Subscription // of all pulls, on one inbox
	inbox   string
	stopCtl func()

	next sync.Mutex // one Next at a time

	mu     sync.Mutex
	pulls  int
	want   *pull                    // the pull that waits
	rung   map[level]bool           // bells that came while idle; nil when not idle
	wake   chan struct{}            // of capacity 1: rung has something
	claims map[string]chan struct{} // job id -> its Hold should look at the log
}

// pull is one request for one job of a level.
type pull struct {
	level  level
	reply  string
	answer chan *nats.Msg // of capacity 1
}

// Queue opens the queue for a trainer. classes are what it can run, preferred
// first.
func (b *Broker) Queue(ctx context.Context, trainer string, classes []string) (*Queue, error) {
	if !ValidTrainer(trainer) {
		return nil, invalid("trainer's name", trainer)
	}
	if len(classes) == 0 {
		return nil, scu.Errorf(scu.CodeInvalid, "trainer %s has no resource class", trainer)
	}
	for _, c := range classes {
		if !validClass(c) {
			return nil, invalid("resource class", c)
		}
	}
	q := &Queue{b: b, trainer: trainer, classes: slices.Clone(classes), inbox: b.nc.NewInbox(),
		wake: make(chan struct{}, 1), claims: map[string]chan struct{}{}}
	var err error
	if q.answers, err = b.nc.Subscribe(q.inbox+".*", q.answered); err != nil {
		return nil, fault(err, "open the queue")
	}
	if q.stopCtl, err = b.onCancel(trainer, q.look); err != nil {
		q.answers.Unsubscribe()
		return nil, err
	}
	return q, nil
}

// Close ends the queue. Claims stay what they are.
func (q *Queue) Close() {
	q.stopCtl()
	q.answers.Unsubscribe()
}

// Next waits for a job and claims it; only ctx's end makes it give up. The job
// was not ended when it was read; the trainer appends Start before it does
// anything, and drops the claim (Ack) when that is refused.
func (q *Queue) Next(ctx context.Context) (*Claim, error) {
	q.next.Lock()
	defer q.next.Unlock()
	for {
		c, err := q.take(ctx)
		if ctx.Err() != nil {
			if c != nil { // nobody will run it
				c.Nak(0)
			}
			return nil, context.Cause(ctx)
		}
		if err == nil {
			return c, nil
		}
		q.b.log.Warn("queue", "trainer", q.trainer, "error", err)
		select {
		case <-ctx.Done():
		case <-q.b.nextReconnect():
		case <-time.After(retryWait):
		}
	}
}

// take waits for a job until there is one, ctx ends or the connection fails.
func (q *Queue) take(ctx context.Context) (*Claim, error) {
	if c, err := q.scan(ctx); c != nil || err != nil {
		return c, err
	}
	reconnected := q.b.nextReconnect()
	leave, err := q.idle()
	if err != nil {
		return nil, err
	}
	defer leave()
	if c, err := q.scan(ctx); c != nil || err != nil {
		return c, err
	}
	wait := firstRescan
	rescan := time.NewTimer(wait)
	defer rescan.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.wake:
			for l, ok := q.loudest(); ok; l, ok = q.loudest() {
				if c, err := q.pull(ctx, l, settleTime); c != nil || err != nil {
					return c, err
				}
			}
			continue
		case <-reconnected: // bells may have rung meanwhile
			reconnected = q.b.nextReconnect()
		case <-rescan.C:
		}
		if c, err := q.scan(ctx); c != nil || err != nil {
			return c, err
		}
		wait = min(8*wait, time.Duration(float64(q.b.opts.Rescan)*(0.8+0.4*rand.Float64())))
		rescan.Reset(wait)
	}
}

// scan looks at every level once, from the top.
func (q *Queue) scan(ctx context.Context) (*Claim, error) {
	levels, err := q.b.listLevels(ctx, q.classes)
	if err != nil {
		return nil, err
	}
	for _, l := range levels {
		if c, err := q.pull(ctx, l, 0); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

// idle joins the doorbell; leave leaves it and rings on what was not answered.
func (q *Queue) idle() (leave func(), err error) {
	q.mu.Lock()
	q.rung = map[level]bool{}
	q.mu.Unlock()
	var subs []*nats.Subscription
	leave = func() {
		q.mu.Lock()
		rest := q.rung
		q.rung = nil
		q.mu.Unlock()
		for _, s := range subs {
			s.Drain() // bells still on their way come to ring, which passes them on
		}
		for l := range rest {
			q.b.ring(l)
		}
	}
	for _, c := range q.classes {
		s, err := q.b.nc.QueueSubscribe("scu.bell."+c+".*", bellGroup, q.ring)
		if err != nil {
			leave()
			return nil, fault(err, "join the doorbell")
		}
		subs = append(subs, s)
	}
	return leave, nil
}

// ring notes a bell, or passes it on to another trainer when this one is busy.
func (q *Queue) ring(m *nats.Msg) {
	l, ok := parseBell(m.Subject)
	if !ok {
		return
	}
	q.mu.Lock()
	idle := q.rung != nil
	if idle {
		q.rung[l] = true
	}
	q.mu.Unlock()
	if !idle {
		q.b.ring(l)
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// loudest takes the highest level that has rung.
func (q *Queue) loudest() (level, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.rung) == 0 {
		return level{}, false
	}
	levels := make([]level, 0, len(q.rung))
	for l := range q.rung {
		levels = append(levels, l)
	}
	sortLevels(levels, q.classes)
	delete(q.rung, levels[0])
	return levels[0], true
}

// ring wakes one idle trainer that serves the level's class, if there is one.
func (b *Broker) ring(l level) {
	if err := b.nc.Publish(l.bell(), nil); err != nil {
		b.log.Warn("doorbell", "level", l.durable(), "error", err)
	}
}

// pull asks a level for a job and waits so long for one to come; nil where it has
// none. Jobs that are not to be run are dealt with on the way.
func (q *Queue) pull(ctx context.Context, l level, wait time.Duration) (*Claim, error) {
	for {
		m, err := q.request(ctx, l, wait)
		if m == nil || err != nil {
			return nil, err
		}
		c, err := q.admit(ctx, l, m)
		if c != nil || err != nil {
			return c, err
		}
	}
}

// request is one pull and its answer; nil where the level is empty or gone.
func (q *Queue) request(ctx context.Context, l level, wait time.Duration) (*nats.Msg, error) {
	if !q.b.nc.IsConnected() { // a request in the send buffer would claim a job later, for nobody
		return nil, scu.Errorf(scu.CodeUnavailable, "not connected to NATS")
	}
	p := &pull{level: l, answer: make(chan *nats.Msg, 1)}
	q.mu.Lock()
	q.pulls++
	p.reply = q.inbox + "." + strconv.Itoa(q.pulls)
	q.want = p
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.want = nil
		q.mu.Unlock()
		select {
		case m := <-p.answer: // came while we gave up
			q.refuse(m)
		default:
		}
	}()
	body := `{"batch":1,"no_wait":true}`
	if wait > 0 {
		body = fmt.Sprintf(`{"batch":1,"expires":%d}`, wait.Nanoseconds())
	}
	if err := q.b.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+jobsStream+"."+l.durable(), p.reply, []byte(body)); err != nil {
		return nil, fault(err, "ask for a job")
	}
	timeout := time.NewTimer(pullTimeout + wait)
	defer timeout.Stop()
	select {
	case m := <-p.answer:
		if m.Subject == p.reply { // a status, not a job: nothing there
			return nil, nil
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, scu.Errorf(scu.CodeUnavailable, "the queue did not answer within %v", pullTimeout)
	}
}

// answered takes the answers of all pulls. A job comes under its own subject, a
// status under the reply's. A job that no pull waits for any more goes back.
func (q *Queue) answered(m *nats.Msg) {
	l, _, isJob := parseJob(m.Subject)
	q.mu.Lock()
	p := q.want
	wanted := p != nil && (isJob && p.level == l || p.reply == m.Subject)
	if wanted {
		q.want = nil
		p.answer <- m // has room; under the lock, so that who gives up finds it
	}
	q.mu.Unlock()
	if !wanted {
		q.refuse(m)
	}
}

// refuse gives back a job that came too late.
func (q *Queue) refuse(m *nats.Msg) {
	if l, _, ok := parseJob(m.Subject); ok {
		m.Nak()
		q.b.ring(l)
	}
}

// admit turns a message into a claim, or nil where its job is not to be run: it
// has ended, or was handed out too often and is failed here.
func (q *Queue) admit(ctx context.Context, l level, m *nats.Msg) (*Claim, error) {
	_, id, _ := parseJob(m.Subject)
	meta, err := m.Metadata()
	if err != nil {
		return nil, scu.Errorf(scu.CodeInternal, "job %s in the queue: %w", id, err)
	}
	if meta.NumPending > 0 {
		q.b.ring(l) // one bell may stand for many jobs; wake the next trainer
	}
	c := &Claim{JobID: id, Deliveries: int(meta.NumDelivered), q: q, msg: m, level: l}
	job, _, err := q.b.Job(ctx, id)
	switch {
	case scu.CodeOf(err) == scu.CodeNotFound:
		q.b.log.Error("queued job is not in the log", "job", id)
		return nil, c.Ack()
	case err != nil:
		c.Nak(0)
		return nil, err
	case job.Status.Ended():
		return nil, c.Ack()
	}
	c.Job = job
	if c.Deliveries > q.b.opts.MaxDeliver {
		if given, err := q.giveUp(ctx, c); given || err != nil {
			return nil, err
		}
	}
	return c, nil
}

// giveUp fails a job that too many trainers took and none finished.
func (q *Queue) giveUp(ctx context.Context, c *Claim) (bool, error) {
	back, err := q.b.handBacks(ctx, c.JobID)
	if err != nil {
		c.Nak(0)
		return false, err
	}
	if c.Deliveries-back <= q.b.opts.MaxDeliver {
		return false, nil
	}
	why := scu.Errorf(scu.CodeInternal, "no trainer finished the job in %d tries", q.b.opts.MaxDeliver).
		WithHint("see the trainers' logs; a smaller batch_size or block_size needs less memory")
	_, _, err = q.b.Append(ctx, c.JobID, q.trainer, func(j scu.Job) (scu.Event, error) { return j.Fail(0, why, time.Now()) })
	if err != nil && scu.CodeOf(err) != scu.CodeConflict {
		c.Nak(0)
		return false, err
	}
	return true, c.Ack()
}

// handBacks counts how often trainers that shut down gave a job back.
func (b *Broker) handBacks(ctx context.Context, id string) (int, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(ctx, stateStream)
	if err != nil {
		return 0, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(stateSubject(id, "*", scu.EventHandedBack)))
	if err != nil {
		return 0, fault(err, "count hand-backs of job %s", id)
	}
	n := 0
	for _, count := range info.State.Subjects {
		n += int(count)
	}
	return n, nil
}

// Claim is a job that this trainer may run, until it acknowledges or returns it,
// or gives no sign of life for AckWait.
type Claim struct {
	JobID      string
	Job        scu.Job // as the log had it when it was claimed
	Deliveries int     // how often the job was handed out, this time included

	q     *Queue
	msg   *nats.Msg
	level level
}

// Ack takes the job out of the queue. Only who won the job's end in the log, or
// saw there that it has ended, may do so.
func (c *Claim) Ack() error {
	err := c.msg.AckSync(nats.AckWait(c.q.b.opts.timeout))
	if errors.Is(err, nats.ErrMsgAlreadyAckd) {
		return nil
	}
	return fault(err, "acknowledge job %s", c.JobID)
}

// Nak returns the job to the queue, for any trainer after the delay; at once when
// it is 0. The server keeps that over a restart.
func (c *Claim) Nak(delay time.Duration) error {
	at := max(delay, time.Nanosecond) // the server keeps a delay on disk, and a plain nak in memory only
	if err := c.msg.NakWithDelay(at, nats.AckWait(c.q.b.opts.timeout)); err != nil {
		return fault(err, "return job %s to the queue", c.JobID)
	}
	if delay <= 0 {
		time.Sleep(nakPause) // the bell must not come before it
		c.q.b.ring(c.level)
	}
	return nil
}

// nakPause is longer than the server takes to look for what a delay made due.
const nakPause = 20 * time.Millisecond

// Hold keeps the claim alive and watches over it while attempt runs. The returned
// context ends with ctx, with release, or when the attempt may not go on; its
// cause is then an scu.Error: CodeCancelled, or CodeConflict where the job ended
// otherwise or is another's. Cancels are seen at once, and in any case within
// AckWait/10.
func (c *Claim) Hold(ctx context.Context, attempt int) (held context.Context, release context.CancelFunc) {
	held, cancel := context.WithCancelCause(ctx)
	look := c.q.watch(c.JobID)
	go func() {
		defer c.q.unwatch(c.JobID, look)
		tick := time.NewTicker(max(c.q.b.opts.AckWait/10, 10*time.Millisecond))
		defer tick.Stop()
		for {
			reconnected := c.q.b.nextReconnect()
			if err := c.q.b.lost(held, c.JobID, attempt); err != nil {
				cancel(err)
				return
			}
			if err := c.msg.InProgress(); err != nil && held.Err() == nil {
				c.q.b.log.Warn("sign of life", "job", c.JobID, "error", err)
			}
			select {
			case <-held.Done():
				return
			case <-tick.C:
			case <-look:
			case <-reconnected:
			}
		}
	}()
	return held, func() { cancel(context.Canceled) }
}

// watch returns a channel that look fills for the job.
func (q *Queue) watch(id string) chan struct{} {
	look := make(chan struct{}, 1)
	q.mu.Lock()
	q.claims[id] = look
	q.mu.Unlock()
	return look
}

func (q *Queue) unwatch(id string, look chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.claims[id] == look {
		delete(q.claims, id)
	}
}

// look makes the Hold of a job read the log.
func (q *Queue) look(id string) {
	q.mu.Lock()
	c := q.claims[id]
	q.mu.Unlock()
	select {
	case c <- struct{}{}:
	default:
	}
}
