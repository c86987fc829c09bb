package broker

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// reconciler brings jobs that have not ended and are in no queue back into it. The
// server derives the queue from the log, but loses its place where the log lost its end
// in a crash or the queue was moved to other servers.
type reconciler struct {
	b        *Broker
	identity string               // of the log that was read
	read     uint64               // up to this entry
	open     map[string]level     // jobs that are queued or run
	later    map[string]time.Time // jobs that are queued at a time
	missed   map[string]bool      // those that were not in the queue in the last pass
}

// reconcile compares log and queue every so often, until ctx ends, and queues the jobs
// whose time has come.
func (b *Broker) reconcile(ctx context.Context, every time.Duration) {
	r := &reconciler{b: b, open: map[string]level{}, later: map[string]time.Time{}}
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
	for _, at := range r.later {
		most = min(most, max(dueRetry, at.Sub(r.b.opts.Now())))
	}
	return most
}

// dueRetry is when a job that is due is tried again.
const dueRetry = 10 * time.Millisecond

// queueDue queues the jobs whose time has come. Of several APIs one does.
func (r *reconciler) queueDue(ctx context.Context) error {
	for id, at := range r.later {
		if r.b.opts.Now().Before(at) {
			continue
		}
		_, _, err := r.b.Append(ctx, id, scu.APIWriter, func(j scu.Job) (scu.Event, error) {
			if j.NotBefore != nil && r.b.opts.Now().Before(*j.NotBefore) { // within the second
				return scu.Event{}, errEarly
			}
			return j.Resume(r.b.opts.Now())
		})
		switch code := scu.CodeOf(err); {
		case errors.Is(err, errEarly):
		case err == nil, code == scu.CodeConflict, code == scu.CodeNotFound:
			delete(r.later, id)
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
	if err := r.readLog(ctx); err != nil {
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
	missed := map[string]bool{}
	for id, l := range r.open {
		if info.State.Subjects[l.job(id)] > 0 {
			continue
		}
		missed[id] = true
		if !r.missed[id] {
			continue
		}
		if err := r.b.requeue(ctx, id, l); err != nil {
			return err
		}
	}
	r.missed = missed
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

// readLog notes which jobs began and ended since the last time. Of another log, or one
// that lost its end, it begins anew.
func (r *reconciler) readLog(ctx context.Context) error {
	info, err := r.b.existing(ctx, stateStream)
	if err != nil || info == nil {
		return fault(err, "read the log")
	}
	if identity := info.Config.Metadata[identityKey]; identity != r.identity || info.State.LastSeq < r.read {
		r.identity, r.read = identity, 0
		clear(r.open)
		clear(r.later)
	}
	if info.State.LastSeq == r.read {
		return nil
	}
	var c jetstream.Consumer
	err = r.b.try(ctx, func(ctx context.Context) (err error) {
		c, err = r.b.js.CreateConsumer(ctx, stateStream, jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.read + 1, HeadersOnly: true,
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		})
		return err
	})
	if err != nil {
		return fault(err, "read the log")
	}
	defer r.b.try(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return r.b.js.DeleteConsumer(ctx, stateStream, c.CachedInfo().Name)
	})
	for left := int(c.CachedInfo().NumPending); left > 0; {
		batch, err := c.Fetch(min(left, maxBatch), jetstream.FetchMaxWait(r.b.opts.timeout))
		if err != nil {
			return fault(err, "read the log")
		}
		came := 0
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return fault(err, "read the log")
			}
			r.note(m.Subject())
			r.read = meta.Sequence.Stream
			came++
		}
		if came == 0 {
			return scu.Errorf(scu.CodeUnavailable, "read the log: %d entries did not come", left)
		}
		left -= came
	}
	return nil
}

// note takes in the subject of an entry.
func (r *reconciler) note(subject string) {
	t := strings.Split(subject, ".")
	if len(t) < 5 || !scu.ValidJobID(t[2]) {
		return
	}
	switch last := scu.EventType(t[len(t)-1]); {
	case (t[3] == whoSubmit || t[3] == whoAgain) && len(t) == 6:
		if l, ok := parseLevel(t[4], t[5]); ok {
			r.open[t[2]] = l
			delete(r.later, t[2])
		}
	case t[3] == whoSubmit:
		if at, err := strconv.ParseInt(t[4], 10, 64); err == nil {
			r.later[t[2]] = time.Unix(at, 0)
		}
	case last == scu.EventCompleted, last == scu.EventFailed, last == scu.EventCancelled, last == scu.EventPaused:
		delete(r.open, t[2])
		delete(r.later, t[2])
	}
}
