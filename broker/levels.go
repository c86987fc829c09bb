package broker

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// levels remembers which levels of the queue have their durable consumer, and since when
// that is known: an owner's is removed when nobody has used it for long.
type levels struct {
	mu     sync.Mutex
	known  map[level]time.Time
	making map[level]chan struct{} // closed when somebody who creates one is done
}

func (l *levels) add(x level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[x] = time.Now()
}

func (l *levels) forget(x level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.known, x)
}

// forgetAll makes each level be asked for again.
func (l *levels) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.known)
}

// claim reports whether x is known. If it isn't, the caller creates it and calls done,
// unless another is doing so: then it waits for busy and claims again.
func (l *levels) claim(x level) (known bool, busy <-chan struct{}, done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since, ok := l.known[x]; ok && (x.lane == "" || time.Since(since) < laneIdle/2) {
		return true, nil, nil
	}
	if c := l.making[x]; c != nil {
		return false, c, nil
	}
	c := make(chan struct{})
	l.making[x] = c
	return false, nil, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.making, x)
		close(c)
	}
}

// ensureLevel creates the consumer of a level unless it is known to exist; of many
// callers one asks the server. Submit does so before it publishes: a trainer that lists
// the levels earlier hears the doorbell instead.
func (b *Broker) ensureLevel(ctx context.Context, l level) error {
	for {
		known, busy, done := b.levels.claim(l)
		switch {
		case known:
			return nil
		case busy == nil:
			defer done()
			return b.createLevel(ctx, l)
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return fault(context.Cause(ctx), "set up queue level %s", l.durable())
		}
	}
}

// createLevel creates the consumer of a level. Creating one that exists changes nothing.
func (b *Broker) createLevel(ctx context.Context, l level) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	c := jetstream.ConsumerConfig{
		Durable:       l.durable(),
		FilterSubject: l.filter(),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       b.opts.AckWait,
		MaxDeliver:    -1, // attempts are counted in the log, so that giving up is an entry of the log
		MaxAckPending: -1,
	}
	_, err := b.js.CreateOrUpdateConsumer(ctx, jobsStream, c)
	if code := codeOf(err); code == codeConsumerStore || code == codeConsumerCreate {
		// What the server stored of it is damaged and can't be deleted, since it never
		// comes up. In memory, nothing of that is read.
		b.log.Error("a queue level's stored state is damaged; it is made anew in memory", "level", c.Durable, "error", err)
		c.MemoryStorage = true
		_, err = b.js.CreateOrUpdateConsumer(ctx, jobsStream, c)
	}
	if err != nil {
		return fault(err, "set up queue level %s", l.durable())
	}
	b.levels.add(l)
	return nil
}

// Codes of a consumer that can't be stored, or whose state can't be read.
const (
	codeConsumerCreate jetstream.ErrorCode = 10012
	codeConsumerStore  jetstream.ErrorCode = 10104
)
