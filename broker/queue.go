package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shannon-control/scu"
)

const (
	retryWait = 250 * time.Millisecond // after an error of the connection

	// The server rings the bell and tells a level of its new job at the same time,
	// in no order. So a pull that a bell asked for waits for the job for settleTime,
	// and a trainer that has just become idle looks again after firstRescan, then
	// ever more seldom.
	settleTime  = 100 * time.Millisecond
	firstRescan = 4 * time.Millisecond
)

// queue is one trainer's [scu.Queue].
//
// Each (class, priority, owner) in use is a durable consumer, a level. An idle trainer
// first joins the doorbell of its classes, then looks at every level, so no job
// arrives unheard between the two; after that it sleeps until the bell rings. Jobs
// that are handed out again after a trainer's death ring no bell: for them every
// idle trainer looks at all levels now and then.
type queue struct {
	b       *Broker
	trainer string
	classes []string // the bell's too; changed by Next alone
	turns   *turns   // likewise
	heads   heads    // likewise
	bell    *doorbell
	pulls   *puller
	cancels *cancels

	turn chan struct{} // of capacity 1: taken by the one Next at a time
}

// Queue opens the queue for a trainer; see [scu.WorkQueue].
func (b *Broker) Queue(ctx context.Context, trainer string, classes []string) (scu.Queue, error) {
	if !scu.ValidTrainer(trainer) {
		return nil, invalid("trainer name", trainer)
	}
	if len(classes) == 0 {
		return nil, scu.Errorf(scu.CodeInvalid, "trainer %s has no resource class", trainer)
	}
	for _, c := range classes {
		if !scu.ValidClass(c) {
			return nil, invalid("resource class", c)
		}
	}
	q := &queue{b: b, trainer: trainer, classes: slices.Clone(classes), turn: make(chan struct{}, 1)}
	q.turns, q.heads = &turns{served: map[string]int{}}, heads{}
	q.bell = newDoorbell(b, q.classes, q.turns)
	var err error
	if q.pulls, err = newPuller(b); err != nil {
		return nil, err
	}
	if q.cancels, err = b.listenForCancels(trainer); err != nil {
		q.pulls.close()
		return nil, err
	}
	return q, nil
}

// Close ends the queue. Claims keep their state.
func (q *queue) Close() {
	q.cancels.close()
	q.pulls.close()
}

// Next waits for a job and claims it; see [scu.Queue].
func (q *queue) Next(ctx context.Context) (scu.Claim, error) {
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		c, err := q.take(ctx)
		if err == nil && ctx.Err() == nil {
			if err = q.confirm(ctx, c); err != nil {
				c = nil
			}
		}
		if ctx.Err() != nil {
			if c != nil { // nobody will run it
				c.Nak(0)
			}
			return nil, context.Cause(ctx)
		}
		if err == nil {
			rotate(q.classes, c.level.class)
			q.turns.take(c.level.lane)
			return c, nil
		}
		if errors.Is(err, errHalted) {
			_ = scu.Sleep(ctx, haltedWait) // the next round tells that ctx ended
			continue
		}
		q.b.log.Warn("queue", "trainer", q.trainer, "error", err)
		awaitRetry(ctx, q.b.nextReconnect())
	}
}

// take waits for a job until there is one, ctx ends or the connection fails.
func (q *queue) take(ctx context.Context) (*claim, error) {
	if c, err := q.scan(ctx); c != nil || err != nil {
		return c, err
	}
	reconnected := q.b.nextReconnect()
	leave, err := q.bell.join()
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
		case <-q.bell.wake:
			halts, err := q.mayTake(ctx)
			if err != nil {
				return nil, err // the bells go on to others
			}
			for l, ok := q.bell.loudest(); ok; l, ok = q.bell.loudest() {
				if c, err := q.claimFirst(ctx, []level{l}, settleTime, maxRunning(halts, l.lane)); c != nil || err != nil {
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

// scan looks once at every level that has jobs, in the owners' turns.
func (q *queue) scan(ctx context.Context) (*claim, error) {
	halts, err := q.mayTake(ctx)
	if err != nil {
		return nil, err
	}
	all, err := q.b.standings(ctx)
	if err != nil {
		return nil, err
	}
	for _, lane := range q.turns.lanes(all) {
		levels, err := inOrder(ofLane(all, lane), q.classes, q.b.opts.Ageing, func(s standing) (time.Time, error) { return q.queued(ctx, s) })
		if err != nil {
			return nil, err
		}
		if c, err := q.claimFirst(ctx, levels, 0, maxRunning(halts, lane)); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

// claimFirst claims the first job that levels of one lane have, of which most may run at
// once, unless it is 0; nil if none has any or so many run.
func (q *queue) claimFirst(ctx context.Context, levels []level, wait time.Duration, most int) (c *claim, err error) {
	if len(levels) == 0 {
		return nil, nil
	}
	if most > 0 {
		s, err := q.b.takeSlot(ctx, levels[0].lane, q.trainer, most)
		if s == nil || err != nil {
			return nil, err
		}
		defer func() {
			if c == nil {
				s.free()
				return
			}
			c.slot = s
		}()
	}
	for _, l := range levels {
		if c, err = q.claimFrom(ctx, l, wait); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

// rotate puts a class behind the others of its family, which take turns: a large GPU's
// trainer would else leave small jobs waiting for as long as large ones come.
func rotate(classes []string, taken string) {
	last := slices.Index(classes, taken)
	for i := last + 1; i < len(classes); i++ {
		if scu.ClassFamily(classes[i]) == scu.ClassFamily(taken) {
			classes[last], classes[i], last = classes[i], classes[last], i
		}
	}
}

// claimFrom asks a level for a job and waits up to wait for one to arrive; nil if it
// has none. Jobs that must not run are dealt with on the way.
func (q *queue) claimFrom(ctx context.Context, l level, wait time.Duration) (*claim, error) {
	for {
		m, err := q.pulls.request(ctx, l, wait)
		if m == nil || err != nil {
			return nil, err
		}
		c, err := q.admit(ctx, l, m)
		if c != nil || err != nil {
			return c, err
		}
	}
}
