package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/shannon-control/scu"
)

// ticket names what was handed out.
func (c *claim) ticket() *ticket {
	meta, err := c.msg.Metadata()
	if err != nil {
		return nil // admit has read it
	}
	t := &ticket{Level: meta.Consumer, Message: meta.Sequence.Stream, Delivery: meta.Sequence.Consumer}
	if c.slot != nil {
		t.Slot = &c.slot.n
	}
	return t
}

// ackSubject is where a message of the queue is acknowledged, whoever holds it: the server
// asks only that the consumer handed it out. Of the subject's figures it reads the
// sequences: the message's, and one of a delivery that lies between the consumer's marks.
func ackSubject(consumer string, message, delivery uint64, now time.Time) string {
	return fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.%d.0", jobsStream, consumer, message, delivery, now.UnixNano())
}

// acknowledge sends an acknowledgement and waits until the server has it.
func (b *Broker) acknowledge(ctx context.Context, subject, body string) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	_, err := b.nc.RequestWithContext(ctx, subject, []byte(body))
	return fault(err, "acknowledge a job")
}

// over returns why attempt may no longer run the job, or nil: an error of CodeCancelled,
// or CodeConflict if the job ended otherwise or is another trainer's.
func over(job scu.Job, attempt int) error {
	if job.Status == scu.Cancelled {
		return scu.Errorf(scu.CodeCancelled, "job %s was cancelled", job.ID)
	}
	return job.Owned(attempt)
}
