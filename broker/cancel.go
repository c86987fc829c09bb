package broker

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// A cancel is an entry of the log; what else is here makes it known sooner.

// Cancel ends a job on request: first in the log, where either the cancel or the
// completion wins, then in the queue and at its trainer. A job that is
// cancelled already is success again; one that ended otherwise is CodeConflict.
func (b *Broker) Cancel(ctx context.Context, id string) (job scu.Job, already bool, err error) {
	var before scu.Job
	job, _, err = b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) {
		before = j
		return j.Cancel(b.opts.Now())
	})
	if scu.CodeOf(err) == scu.CodeConflict && job.Status == scu.Cancelled {
		return job, true, nil
	}
	if err != nil {
		return job, false, err
	}
	// The log has decided. What follows only makes it known sooner: a trainer that
	// takes the job reads the log first, and one that runs it looks there too.
	if err := b.unqueue(ctx, before); err != nil {
		b.log.Warn("cancelled job stays in the queue until a trainer drops it", "job", id, "error", err)
	}
	b.hint(before)
	return job, false, nil
}

// Stop asks a running job to end now: first in the log, then at its trainer.
func (b *Broker) Stop(ctx context.Context, id string) (job scu.Job, already bool, err error) {
	job, _, err = b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) {
		if already = j.Status == scu.Running && j.Stopping; already {
			return scu.Event{}, scu.Errorf(scu.CodeConflict, "job %s is being stopped already", j.ID)
		}
		return j.Stop(b.opts.Now())
	})
	if already {
		return job, true, nil
	}
	if err == nil {
		b.hint(job)
	}
	return job, false, err
}

// hint makes the trainer of a running job look at the log now.
func (b *Broker) hint(j scu.Job) {
	if j.Status != scu.Running || !scu.ValidTrainer(j.Trainer) {
		return
	}
	names := []string{j.Trainer}
	if i := strings.LastIndexByte(j.Trainer, '-'); i > 0 && SpeaksFor(j.Trainer[:i], j.Trainer) { // it may be a further GPU's, which hears by its process's name
		names = append(names, j.Trainer[:i])
	}
	for _, name := range names {
		if err := b.nc.Publish(cancelSubject(name), []byte(j.ID)); err != nil {
			b.log.Warn("the trainer isn't told to look at the log", "job", j.ID, "trainer", name, "error", err)
		}
	}
}

// unqueue removes a job from the work queue, by its number there: a purge of its
// subject makes nats-server 2.15 forget that older jobs are handed out and not
// acknowledged, and those whose trainers die then are never handed out again.
func (b *Broker) unqueue(ctx context.Context, j scu.Job) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(ctx, jobsStream)
	if err != nil {
		return err
	}
	m, err := s.GetLastMsgForSubject(ctx, levelOf(j).job(j.ID))
	if err == nil {
		err = s.DeleteMsg(ctx, m.Sequence)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return nil // gone: a trainer was faster
	}
	return err
}

// cancels tells the claims of one trainer when to look at the log: a message on the
// trainer's control subject hints that a job was cancelled. It may be lost, so
// claims look by themselves too.
type cancels struct {
	sub *nats.Subscription

	mu    sync.Mutex
	looks map[string]chan struct{} // by job id
}

func (b *Broker) listenForCancels(trainer string) (*cancels, error) {
	c := &cancels{looks: map[string]chan struct{}{}}
	var err error
	c.sub, err = b.nc.Subscribe(cancelSubject(trainer), func(m *nats.Msg) { c.look(string(m.Data)) })
	if err != nil {
		return nil, fault(err, "listen for cancels")
	}
	return c, nil
}

func (c *cancels) close() { c.sub.Unsubscribe() }

// watch returns a channel that receives when the job may have been cancelled.
func (c *cancels) watch(id string) chan struct{} {
	look := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks[id] = look
	return look
}

func (c *cancels) unwatch(id string, look chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looks[id] == look {
		delete(c.looks, id)
	}
}

func (c *cancels) look(id string) {
	c.mu.Lock()
	look := c.looks[id]
	c.mu.Unlock()
	select {
	case look <- struct{}{}:
	default:
	}
}

// lost returns why attempt may no longer run the job, as [over] does. If the log can't be
// read now, the answer is nil. job is as the log has it.
func (b *Broker) lost(ctx context.Context, id string, attempt int) (job scu.Job, err error) {
	job, _, err = b.Job(ctx, id)
	switch {
	case scu.CodeOf(err) == scu.CodeNotFound:
		return job, err
	case err != nil:
		if ctx.Err() == nil {
			b.log.Warn("can't see whether the job was cancelled", "job", id, "error", err)
		}
		return job, nil
	}
	return job, over(job, attempt)
}
