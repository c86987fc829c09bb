package broker

import (
	"context"
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
	identity string           // of the log that was read
	read     uint64           // up to this entry
	open     map[string]level // jobs that have not ended
	missed   map[string]bool  // those that were not in the queue in the last pass
}

// reconcile compares log and queue every so often, until ctx ends.
func (b *Broker) reconcile(ctx context.Context, every time.Duration) {
	r := &reconciler{b: b, open: map[string]level{}}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := r.pass(ctx); ctx.Err() == nil {
			b.found("reconciler", err)
			if err != nil {
				b.log.Warn("compare the queue with the log", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pass queues the jobs that were missing in the last pass and are so in this. Once is
// not enough: a job may have come or ended between the two readings.
func (r *reconciler) pass(ctx context.Context) error {
	if err := r.readLog(ctx); err != nil {
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
		if err := r.b.requeue(ctx, id); err != nil {
			return err
		}
	}
	r.missed = missed
	return nil
}

// requeue puts a job that has not ended into the queue, unless it is there.
func (b *Broker) requeue(ctx context.Context, id string) error {
	job, _, err := b.Job(ctx, id)
	if err != nil {
		return err
	}
	if job.Status != scu.Queued && job.Status != scu.Running {
		return nil
	}
	l := level{job.Class, job.Priority}
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
	case t[3] == whoSubmit && len(t) == 6:
		if l, ok := parseLevel(t[4], t[5]); ok {
			r.open[t[2]] = l
		}
	case last == scu.EventCompleted, last == scu.EventFailed, last == scu.EventCancelled:
		delete(r.open, t[2])
	}
}
