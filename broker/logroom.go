package broker

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// logRoom keeps room in the log for what its open jobs will still say: whatever needs more
// than was kept for it is let in only if it fits beside that.
type logRoom struct {
	b    *Broker
	turn chan struct{} // of capacity 1: held by the caller that asks NATS

	mu     sync.Mutex
	use    scu.StreamUse
	asked  time.Time
	since  int64 // let in since it was asked, or not stored yet then: bytes, with what is kept for them
	flying int64 // of these, what is not stored yet
}

func newLogRoom(b *Broker) *logRoom { return &logRoom{b: b, turn: make(chan struct{}, 1)} }

// spaceOf is what a submission takes of the log, with what is kept for its job.
func spaceOf(data []byte) int64 {
	size := int64(len(data) + entryOverhead)
	return size + scu.OpenJob{}.After(scu.EventSubmitted, size).Reserve()
}

// admit lets in what takes, or makes the log keep, so many bytes more. taken is to be called
// when it is stored. CodeStorage if it doesn't fit.
func (r *logRoom) admit(ctx context.Context, more int64) (taken func(), err error) {
	for _, age := range []time.Duration{usesAge, 0} {
		if _, err := r.look(ctx, age); err != nil {
			return nil, err
		}
		if taken, err = r.take(more); err == nil {
			return taken, nil
		}
	}
	return nil, err
}

// take is admit by what is known now.
func (r *logRoom) take(more int64) (taken func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.use.Fits(r.since + more); err != nil {
		return nil, err
	}
	r.since += more
	r.flying += more
	return func() { r.mu.Lock(); r.flying -= more; r.mu.Unlock() }, nil
}

// admitWord lets in an entry of a job that is in the log, of so many bytes of text: its end at
// any time, what room was kept for too, and what is more than that if it fits. Until the open jobs
// are known, which APIs and arbiters read when they start, that is left to NATS.
func (r *logRoom) admitWord(ctx context.Context, e scu.Event, text int) (taken func(), err error) {
	size := int64(text + entryOverhead)
	if e.Job.Status.Ended() && e.Job.Status != scu.Deleted || !r.b.open.areKnown() {
		return func() {}, nil
	}
	if _, err := r.look(ctx, usesAge); err != nil {
		return func() {}, nil // the append itself tells
	}
	if taken, err := r.take(size + mostReserved(1, size)); err == nil {
		return taken, nil // whatever is known of the job
	}
	if _, err := r.look(ctx, 0); err != nil {
		return func() {}, nil
	}
	more := size
	if e.Job.Status != scu.Deleted {
		before := r.b.open.of(e.Job.ID)
		more += before.After(e.Type, size).Reserve() - before.Reserve()
	}
	if more <= 0 {
		return func() {}, nil
	}
	return r.take(more)
}

// look tells how full the log is, as it was no longer ago than age. If it is nearly full, the
// jobs that are open are counted for it.
func (r *logRoom) look(ctx context.Context, age time.Duration) (scu.StreamUse, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return scu.StreamUse{}, ctx.Err()
	}
	r.mu.Lock()
	use, fresh := r.use, !r.asked.IsZero() && time.Since(r.asked) <= age
	answered := r.since - r.flying // what the answer will have; not before it is here
	r.mu.Unlock()
	if fresh {
		return use, nil
	}
	use, err := r.ask(ctx)
	if err != nil {
		return use, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.use, r.asked = use, time.Now()
	r.since -= answered
	return use, nil
}

func (r *logRoom) ask(ctx context.Context) (scu.StreamUse, error) {
	info, err := r.b.logInfo(ctx)
	if err != nil {
		return scu.StreamUse{}, err
	}
	use := scu.StreamUse{Name: scu.LogUse, Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes, Reserved: r.b.open.atMost(info)}
	if use.Full() >= scu.NearlyFull && info.State.Msgs > longLog && !r.b.open.areKnown() {
		// Until the log was read, the queue's length stands for the jobs that are open.
		queue, err := r.b.existing(ctx, jobsStream)
		if err != nil || queue == nil {
			return use, fault(err, "read the queue")
		}
		n, entries := int64(queue.State.Msgs), max(1, int64(info.State.Msgs))
		use.Reserved = mostReserved(n, n*use.Bytes/entries)
	}
	if use.Full() >= scu.NearlyFull {
		if err := r.b.open.readOn(ctx); err != nil {
			return use, err
		}
		if info, err = r.b.logInfo(ctx); err != nil {
			return use, err
		}
		use.Bytes, use.MaxBytes, use.Reserved = int64(info.State.Bytes), info.Config.MaxBytes, r.b.open.atMost(info)
	}
	return use, nil
}

// longLog is how many entries take long to read: more than a second or so.
const longLog = 100_000

// logInfo describes the log.
func (b *Broker) logInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	info, err := b.streamInfo(ctx, stateStream)
	return info, fault(err, "read the log")
}
