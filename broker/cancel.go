package broker

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
)

// onCancel calls f for each job that was cancelled while trainer ran it, until
// stop is called. Messages may be lost, and are hints only: what counts is the
// log, which Claim.Hold watches as well.
func (b *Broker) onCancel(trainer string, f func(jobID string)) (stop func(), err error) {
	if !ValidTrainer(trainer) {
		return nil, invalid("trainer's name", trainer)
	}
	sub, err := b.nc.Subscribe(cancelSubject(trainer), func(m *nats.Msg) {
		if id := string(m.Data); scu.ValidJobID(id) {
			f(id)
		}
	})
	if err != nil {
		return nil, fault(err, "listen for cancels")
	}
	return func() { sub.Unsubscribe() }, nil
}

// lost says why attempt may no longer run the job, or nil: an error of
// CodeCancelled, or CodeConflict where the job ended otherwise or is another's.
// A log that can't be read now decides nothing.
func (b *Broker) lost(ctx context.Context, id string, attempt int) error {
	job, _, err := b.Job(ctx, id)
	switch {
	case scu.CodeOf(err) == scu.CodeNotFound:
		return err
	case err != nil:
		if ctx.Err() == nil {
			b.log.Warn("can't see whether the job was cancelled", "job", id, "error", err)
		}
		return nil
	case job.Status == scu.Cancelled:
		return scu.Errorf(scu.CodeCancelled, "job %s was cancelled", id)
	}
	return job.Owned(attempt)
}
