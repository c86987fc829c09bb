package broker

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// TakeBack returns claimed jobs to the queue at once, first in line at their level,
// which they would otherwise return to only when their claims end. gone reports whether the
// trainer that holds a job is known to be dead; the job is as the log has it. A
// process that is the only one to run those trainers calls it before it starts them.
func (b *Broker) TakeBack(ctx context.Context, gone func(scu.Job) bool) (taken []string, err error) {
	err = b.freeSlotsOf(ctx, func(name string) bool { return gone(scu.Job{Status: scu.Running, Trainer: name}) })
	if err != nil {
		return nil, err
	}
	s, err := b.stream(ctx, jobsStream)
	if err != nil {
		return nil, err
	}
	var claimed []*jetstream.ConsumerInfo
	list, cancel := b.bound(ctx)
	defer cancel()
	consumers := s.ListConsumers(list)
	for c := range consumers.Info() {
		if _, ok := parseDurable(c.Name); ok && c.NumAckPending > 0 {
			claimed = append(claimed, c)
		}
	}
	if err := consumers.Err(); err != nil {
		return nil, fault(err, "list the queue's levels")
	}
	for _, c := range claimed {
		ids, err := b.takeBackLevel(ctx, c, gone)
		taken = append(taken, ids...)
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// takeBackLevel looks at the jobs of a level that were handed out and not acknowledged:
// those that are still in the stream, up to the last one handed out.
func (b *Broker) takeBackLevel(ctx context.Context, c *jetstream.ConsumerInfo, gone func(scu.Job) bool) (taken []string, err error) {
	l, _ := parseDurable(c.Name)
	for seq := c.AckFloor.Stream + 1; seq <= c.Delivered.Stream; seq++ {
		m, err := b.message(ctx, jobsStream, seq, jetstream.WithGetMsgSubject(l.filter()))
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence > c.Delivered.Stream {
			break
		}
		if err != nil {
			return taken, err
		}
		seq = m.Sequence
		_, id, ok := parseJob(m.Subject)
		if !ok {
			continue
		}
		job, _, err := b.Job(ctx, id)
		if err != nil || !gone(job) {
			continue // what can't be read now comes back when its claim ends
		}
		if err := b.acknowledge(ctx, ackSubject(c.Name, seq, c.Delivered.Consumer, b.opts.Now()), "-NAK"); err != nil {
			return taken, fault(err, "take back job %s", id)
		}
		taken = append(taken, id)
	}
	if len(taken) > 0 {
		b.ring(l)
	}
	return taken, nil
}
