package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
)

// admit turns a message into a claim, or nil if its job must not run: it has ended, is
// paused, or was tried too often and is failed here.
func (q *queue) admit(ctx context.Context, l level, m *nats.Msg) (*claim, error) {
	_, id, _ := parseJob(m.Subject)
	meta, err := m.Metadata()
	if err != nil {
		return nil, scu.Errorf(scu.CodeInternal, "job %s in the queue: %w", id, err)
	}
	if meta.NumPending > 0 {
		q.b.ring(l) // one bell may stand for many jobs; wake the next trainer
	}
	c := &claim{id: id, deliveries: int(meta.NumDelivered), q: q, msg: m, level: l, stopping: make(chan struct{})}
	job, _, err := q.b.Job(ctx, id)
	switch {
	case scu.CodeOf(err) == scu.CodeNotFound:
		q.b.log.Error("queued job is not in the log", "job", id)
		return nil, c.Ack()
	case err != nil && job.ID != "": // a newer version's, which is for newer trainers
		q.b.log.Warn("a job is left to others", "error", err)
		return nil, c.Nak(q.b.opts.Rescan)
	case err != nil:
		c.Nak(0)
		return nil, err
	case !job.Status.InQueue(): // ended, or paused
		return nil, c.Ack()
	}
	c.job = job
	if job.Tries >= q.b.opts.MaxTries {
		return nil, q.giveUp(ctx, c)
	}
	return c, nil
}

// giveUp fails a job that too many trainers began without getting anywhere.
func (q *queue) giveUp(ctx context.Context, c *claim) error {
	_, _, err := q.b.Append(ctx, c.id, q.trainer, func(j scu.Job) (scu.Event, error) {
		if j.Attempt != c.job.Attempt {
			return scu.Event{}, scu.Errorf(scu.CodeConflict, "job %s was started again", j.ID)
		}
		why := scu.Errorf(scu.CodeInternal, "%d attempts in a row were broken off, and none got past step %d", j.Tries, j.Reached).
			WithHint("see the trainers' logs; a smaller batch_size or block_size needs less memory, a smaller checkpoint_every loses less")
		return j.Fail(0, why, q.b.opts.Now())
	})
	switch {
	case scu.CodeOf(err) == scu.CodeConflict:
		c.Nak(0) // whatever it is now is seen when it comes again
		return nil
	case err != nil:
		c.Nak(0)
		return err
	}
	return c.Ack()
}

// claim is a [scu.Claim]: it lasts until it is acknowledged or returned, or gives no
// sign of life for AckWait.
type claim struct {
	id         string
	job        scu.Job // as the log had it when it was claimed
	deliveries int     // how often it was handed out, this time included

	q     *queue
	msg   *nats.Msg
	level level
	slot  *slot // nil if its owner may run any number of jobs

	stopping chan struct{} // closed once the job is to be stopped
}

func (c *claim) Job() scu.Job { return c.job }

func (c *claim) Stopping() <-chan struct{} { return c.stopping }

// Ack takes the job out of the queue; see [scu.Claim].
func (c *claim) Ack() error {
	defer c.freeSlot()
	err := c.msg.AckSync(nats.AckWait(c.q.b.opts.timeout))
	if errors.Is(err, nats.ErrMsgAlreadyAckd) {
		return nil
	}
	return fault(err, "acknowledge job %s", c.id)
}

// Nak returns the job to the queue, for any trainer after the delay, at once if it is
// 0. The server remembers that over a restart.
func (c *claim) Nak(delay time.Duration) error {
	defer c.freeSlot()
	at := max(delay, time.Nanosecond) // the server keeps a delay on disk, and a plain nak in memory only
	if err := c.msg.NakWithDelay(at, nats.AckWait(c.q.b.opts.timeout)); err != nil {
		return fault(err, "return job %s to the queue", c.id)
	}
	if delay <= 0 {
		time.Sleep(c.q.b.opts.nakPause) // the bell must not come before it
		c.q.b.ring(c.level)
	}
	return nil
}

func (c *claim) freeSlot() {
	if c.slot != nil {
		c.slot.free()
	}
}

// nakPause is longer than a server takes, a busy one too, to look for what a delay made due.
const nakPause = 100 * time.Millisecond

// Hold keeps the claim alive while attempt runs; see [scu.Claim]. Cancels are seen at
// once, and in any case within AckWait/10.
func (c *claim) Hold(ctx context.Context, attempt int) (held context.Context, release context.CancelFunc) {
	held, cancel := context.WithCancelCause(ctx)
	look := c.q.cancels.watch(c.id)
	go func() {
		defer c.q.cancels.unwatch(c.id, look)
		tick := time.NewTicker(max(c.q.b.opts.AckWait/10, 10*time.Millisecond))
		defer tick.Stop()
		told := false
		for {
			reconnected := c.q.b.nextReconnect()
			job, err := c.q.b.lost(held, c.id, attempt)
			if err != nil {
				cancel(err)
				return
			}
			if job.Stopping && !told {
				told = true
				close(c.stopping)
			}
			if err := c.msg.InProgress(); err != nil && held.Err() == nil {
				c.q.b.log.Warn("sign of life", "job", c.id, "error", err)
			}
			if c.slot != nil {
				c.slot.keep(held)
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
