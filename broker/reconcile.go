package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// reconciler brings jobs that have not ended and are in no queue back into it. The
// server derives the queue from the log, but loses its place where the log lost its end
// in a crash or the queue was moved to other servers.
type reconciler struct {
	b      *Broker
	missed map[jobKey]level // jobs that were not in the queue in the last pass
	ahead  time.Duration    // of this clock, before the log's in the last pass
}

// now is the time by the log's clock, which all APIs share: one whose own is ahead would begin jobs
// early for all.
func (r *reconciler) now() time.Time { return r.b.opts.Now().Add(-r.ahead) }

// reconcile compares log and queue every so often, until ctx ends, and queues the jobs
// whose time has come.
func (b *Broker) reconcile(ctx context.Context, every time.Duration) {
	r := &reconciler{b: b}
	tick := time.NewTicker(every)
	defer tick.Stop()
	scheduled := make(chan *nats.Msg, 1) // one is enough: the log has them all
	if heard, err := b.nc.ChanSubscribe("scu.state.*."+whoSubmit+".*", scheduled); err == nil {
		defer heard.Unsubscribe()
	}
	due := time.NewTimer(every)
	defer due.Stop()
	for {
		if err := r.pass(ctx); ctx.Err() == nil {
			b.found("reconciler", err)
			if err != nil {
				b.log.Warn("compare the queue with the log", "error", err)
			}
		}
		due.Reset(r.nextDue(every))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-due.C:
		case <-scheduled:
		}
	}
}

// nextDue is how long the first of the scheduled jobs waits still, at most most.
func (r *reconciler) nextDue(most time.Duration) time.Duration {
	now := r.now()
	due, next := r.b.open.due(now)
	switch {
	case len(due) > 0:
		return min(most, dueRetry)
	case next.IsZero():
		return most
	}
	return min(most, max(dueRetry, next.Sub(now)))
}

// dueRetry is when a job that is due is tried again.
const dueRetry = 10 * time.Millisecond

// queueDue queues the jobs whose time has come. Of several APIs one does.
func (r *reconciler) queueDue(ctx context.Context) error {
	logs, err := r.b.Time(ctx)
	if err != nil {
		return err
	}
	r.ahead = r.b.opts.Now().Sub(logs)
	due, _ := r.b.open.due(r.now())
	for _, id := range due {
		_, _, err := r.b.Append(ctx, id.String(), scu.APIWriter, func(j scu.Job) (scu.Event, error) {
			if j.NotBefore != nil && r.now().Before(*j.NotBefore) { // within the second
				return scu.Event{}, errEarly
			}
			return j.Resume(r.b.opts.Now())
		})
		switch code := scu.CodeOf(err); {
		case errors.Is(err, errEarly):
		case err == nil, code == scu.CodeConflict, code == scu.CodeNotFound:
			r.b.open.settle(id)
		default:
			return err
		}
	}
	return nil
}

var errEarly = errors.New("not yet")

// pass queues the jobs that were missing in the last pass and are so in this. Once is
// not enough: a job may have come or ended between the two readings.
func (r *reconciler) pass(ctx context.Context) error {
	if err := r.b.open.readOn(ctx); err != nil {
		return err
	}
	if err := r.queueDue(ctx); err != nil {
		return err
	}
	var info *jetstream.StreamInfo
	err := r.b.within(ctx, listTimeout, func(ctx context.Context) error {
		s, err := r.b.stream(ctx, jobsStream)
		if err == nil {
			info, err = s.Info(ctx, jetstream.WithSubjectFilter("scu.jobs.>"))
		}
		return err
	})
	if err != nil {
		return fault(err, "read the queue")
	}
	missing := r.b.open.absent(info.State.Subjects)
	for id, l := range missing {
		if _, again := r.missed[id]; !again {
			continue
		}
		if err := r.b.requeue(ctx, id.String(), l); err != nil {
			return err
		}
	}
	r.missed = missing
	return nil
}

// requeue puts a job that has not ended into a level of the queue, unless it is there.
func (b *Broker) requeue(ctx context.Context, id string, l level) error {
	job, _, err := b.Job(ctx, id)
	if err != nil {
		return err
	}
	if !job.Status.InQueue() {
		return nil
	}
	if err := b.ensureLevel(ctx, l); err != nil {
		return err
	}
	_, err = b.publish(ctx, &nats.Msg{Subject: l.job(id)}, jetstream.WithExpectLastSequencePerSubject(0))
	if err != nil {
		return fault(err, "queue job %s again", id)
	}
	b.log.Warn("a job was in no queue and is put back", "job", id, "status", job.Status)
	return nil
}
