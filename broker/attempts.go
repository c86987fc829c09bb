package broker

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Say writes a trainer's word into the log; see [scu.Attempts].
func (b *Broker) Say(ctx context.Context, id, trainer string, w scu.Word) (scu.Job, error) {
	job, _, err := b.Append(ctx, id, trainer, func(j scu.Job) (scu.Event, error) { return j.Hear(trainer, w, b.opts.Now()) })
	return job, err
}

// Fate returns a job as it stands; see [scu.Attempts].
func (b *Broker) Fate(ctx context.Context, id, _ string) (scu.Job, error) {
	if !scu.ValidJobID(id) {
		return scu.Job{}, scu.NoJob(id)
	}
	e, _, err := b.read(ctx, stateGuard(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return scu.Job{}, scu.NoJob(id)
	}
	if err == nil {
		err = e.Understood()
	}
	return e.Job, err
}
