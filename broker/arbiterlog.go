package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// What an arbiter does with what a trainer says of a job.

// say writes a word into the log.
func (a *Arbiter) say(ctx context.Context, q question) (answer, error) {
	if q.Word == nil || q.Word.Type == scu.EventStarted {
		return answer{}, scu.Errorf(scu.CodeInvalid, "no word, or one that only an offer allows")
	}
	if err := a.fits(q.Word); err != nil {
		return answer{}, err
	}
	job, _, err := a.b.appendOnce(ctx, q.Job, q.Trainer, q.ID, func(j scu.Job) (scu.Event, error) {
		return j.Hear(q.Trainer, *q.Word, a.b.opts.Now())
	})
	return answer{Job: theirs(job, q.Trainer)}, err
}

// fits refuses a word that would fill the room that a job has in the log.
func (a *Arbiter) fits(w *scu.Word) error {
	c := *w
	c.Warnings, c.Error = nil, nil // which are cut
	data, err := json.Marshal(c)
	if most := a.b.nc.MaxPayload() / 16; err == nil && int64(len(data)) > most {
		err = scu.Errorf(scu.CodeTooLarge, "a word of %d bytes, more than the %d allowed", len(data), most)
	}
	return err
}

// hold is a sign of life of an attempt. The job tells whether it is to stop.
func (a *Arbiter) hold(ctx context.Context, q question) (answer, error) {
	job, err := a.owned(ctx, q)
	if err != nil {
		return answer{}, err
	}
	subject, err := a.place(ctx, q)
	if err == nil && subject != "" {
		err = a.b.nc.Publish(subject, []byte("+WPI"))
	}
	if slot := a.slot(ctx, q, job); slot != nil {
		slot.keep(ctx)
	}
	return answer{Job: &job}, err
}

// done takes a job out of the queue that is over or paused.
func (a *Arbiter) done(ctx context.Context, q question) (answer, error) {
	job, err := a.b.Fate(ctx, q.Job, q.Trainer)
	if err != nil {
		return answer{}, err
	}
	if job.Status.InQueue() {
		return answer{}, scu.Errorf(scu.CodeConflict, "job %s is %s", q.Job, job.Status)
	}
	subject, err := a.place(ctx, q)
	if slot := a.slot(ctx, q, job); slot != nil {
		defer slot.free()
	}
	if err != nil || subject == "" {
		return answer{}, err
	}
	return answer{}, a.b.acknowledge(ctx, subject, "+ACK")
}

// back gives a job that its trainer has handed back to others, after a delay.
func (a *Arbiter) back(ctx context.Context, q question) (answer, error) {
	job, _, err := a.b.Job(ctx, q.Job)
	if err != nil {
		return answer{}, err
	}
	if job.Status != scu.Queued || job.Trainer != q.Trainer || job.Attempt != q.Attempt {
		return answer{}, scu.Errorf(scu.CodeConflict, "job %s is %s, and trainer %s did not hand it back", q.Job, job.Status, q.Trainer)
	}
	subject, err := a.place(ctx, q)
	if slot := a.slot(ctx, q, job); slot != nil {
		defer slot.free()
	}
	if err != nil || subject == "" {
		return answer{}, err
	}
	delay := max(q.Delay, time.Nanosecond) // see claim.Nak
	if err := a.b.acknowledge(ctx, subject, fmt.Sprintf(`-NAK {"delay": %d}`, delay.Nanoseconds())); err != nil {
		return answer{}, err
	}
	if q.Delay <= 0 {
		time.Sleep(a.b.opts.nakPause)
		a.b.ring(levelOf(job))
	}
	return answer{}, nil
}

// fate tells how a job stands, and all of it to the trainer that ran it last.
func (a *Arbiter) fate(ctx context.Context, q question) (answer, error) {
	job, err := a.b.Fate(ctx, q.Job, q.Trainer)
	if err != nil {
		return answer{}, err
	}
	if job.Trainer != q.Trainer {
		job = scu.Job{ID: job.ID, Status: job.Status, Attempt: job.Attempt, CreatedAt: job.CreatedAt, UpdatedAt: job.UpdatedAt, CompletedAt: job.CompletedAt}
	}
	return answer{Job: &job}, nil
}

// theirs is a job if a trainer ran it last; nil otherwise.
func theirs(j scu.Job, trainer string) *scu.Job {
	if j.ID == "" || j.Trainer != trainer {
		return nil
	}
	return &j
}

// place is the subject of a job's acknowledgements: of the message of its ticket, if that
// is the job's; "" if it is gone.
func (a *Arbiter) place(ctx context.Context, q question) (string, error) {
	t := q.Ticket
	if t == nil || t.Level == "" || strings.ContainsAny(t.Level, ".*> \t\r\n") {
		return "", scu.Errorf(scu.CodeInvalid, "no ticket, or none that can be read")
	}
	m, err := a.b.message(ctx, jobsStream, t.Message)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "", nil
	case err != nil:
		return "", err
	}
	if _, id, ok := parseJob(m.Subject); !ok || id != q.Job {
		return "", scu.Errorf(scu.CodeForbidden, "the ticket is not job %s's", q.Job)
	}
	return ackSubject(t.Level, t.Message, t.Delivery, a.b.opts.Now()), nil
}

// slot is the slot of the job's owner that a trainer took for it; nil if there is none, or
// if it isn't the trainer's any more.
func (a *Arbiter) slot(ctx context.Context, q question, job scu.Job) *slot {
	if q.Ticket == nil || q.Ticket.Slot == nil {
		return nil
	}
	s, err := a.b.slotOf(ctx, laneOf(job.Owner), *q.Ticket.Slot, q.Trainer)
	if err != nil {
		a.b.log.Warn("an owner's slot is free when it expires", "job", q.Job, "error", err)
	}
	return s
}

// metrics stores steps of attempts that the trainer began.
func (a *Arbiter) metrics(ctx context.Context, q question) (answer, error) {
	if len(q.Steps) == 0 || len(q.Steps) > metricsInFlight {
		return answer{}, scu.Errorf(scu.CodeInvalid, "%d steps", len(q.Steps))
	}
	subjects := make([]string, len(q.Steps))
	for i, step := range q.Steps {
		var m scu.Metrics
		if err := json.Unmarshal(step, &m); err != nil {
			return answer{}, scu.Errorf(scu.CodeInvalid, "metrics that can't be read: %w", err)
		}
		if !scu.ValidJobID(m.JobID) {
			return answer{}, scu.NoJob(m.JobID)
		}
		subjects[i] = metricsSubject(m.JobID, q.Trainer)
		of := q
		of.Job = m.JobID
		attempt, err := a.began(ctx, of, m.Attempt)
		if err != nil {
			return answer{}, err
		}
		if attempt == 0 || attempt != m.Attempt {
			return answer{}, scu.Errorf(scu.CodeConflict, "attempt %d of job %s is not trainer %s's", m.Attempt, m.JobID, q.Trainer)
		}
	}
	sent := make([]jetstream.PubAckFuture, len(q.Steps))
	for i, step := range q.Steps {
		var err error
		if sent[i], err = a.b.js.PublishAsync(subjects[i], step, jetstream.WithRetryAttempts(0)); err != nil {
			return answer{}, fault(err, "store metrics")
		}
	}
	ctx, cancel := a.b.bound(ctx)
	defer cancel()
	for _, s := range sent {
		select {
		case <-s.Ok():
		case err := <-s.Err():
			return answer{}, fault(err, "store metrics")
		case <-ctx.Done():
			return answer{}, fault(ctx.Err(), "store metrics")
		}
	}
	return answer{}, nil
}

// drop removes a zip that the trainer may remove: of a job that it runs or that it ran
// that attempt of, unless the job has it.
func (a *Arbiter) drop(ctx context.Context, q question) (answer, error) {
	key := scu.AdapterKey{Job: q.Job, Attempt: q.Attempt, Step: q.Step}
	job, err := a.b.Fate(ctx, q.Job, q.Trainer)
	if err != nil {
		return answer{}, err
	}
	runs := job.Status == scu.Running && job.Trainer == q.Trainer
	if !runs {
		attempt, err := a.began(ctx, q, q.Attempt)
		if err != nil {
			return answer{}, err
		}
		runs = attempt > 0 && attempt == q.Attempt
	}
	isChild := slices.ContainsFunc(job.Checkpoints, func(c scu.Checkpoint) bool { return c.Attempt == key.Attempt && c.Step == key.Step })
	isIts := job.Adapter != nil && key.Step == 0 && key.Attempt == job.Attempt
	if !runs || isChild || isIts {
		return answer{}, scu.Errorf(scu.CodeForbidden, "trainer %s may not remove this zip of job %s", q.Trainer, q.Job)
	}
	return answer{}, a.b.DeleteAdapter(ctx, key)
}

// started is the newest entry with which a trainer began an attempt at a job; the zero
// Event if there is none.
func (b *Broker) started(ctx context.Context, job, trainer string) (e scu.Event, err error) {
	e, _, err = b.read(ctx, stateSubject(job, trainer, scu.EventStarted))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return e, nil
	}
	return e, err
}
