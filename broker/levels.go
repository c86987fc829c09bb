package broker

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// levels remembers which levels of the queue are known to have their durable consumer.
type levels struct {
	mu     sync.Mutex
	known  map[level]bool
	making map[level]chan struct{} // closed when somebody who creates one is done
}

func (l *levels) set(x level, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[x] = known
}

// forget forgets every level, so that each is asked for again.
func (l *levels) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.known)
}

// claim reports whether x is known. If it isn't, the caller creates it and calls done,
// unless another is doing so: then it waits for busy and claims again.
func (l *levels) claim(x level) (known bool, busy <-chan struct{}, done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[x] {
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
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == codeConsumerStore || api.ErrorCode == codeConsumerCreate) {
		// What the server stored of it is damaged and can't be deleted, since it never
		// comes up. In memory, nothing of that is read.
		b.log.Error("a queue level's stored state is damaged; it is made anew in memory", "level", c.Durable, "error", err)
		c.MemoryStorage = true
		_, err = b.js.CreateOrUpdateConsumer(ctx, jobsStream, c)
	}
	if err != nil {
		return fault(err, "set up queue level %s", l.durable())
	}
	b.levels.set(l, true)
	return nil
}

// Codes of a consumer that can't be stored, or whose state can't be read.
const (
	codeConsumerCreate jetstream.ErrorCode = 10012
	codeConsumerStore  jetstream.ErrorCode = 10104
)

// listLevels returns the levels of the given classes that have a consumer, highest
// priority first, classes in the given order within one.
func (b *Broker) listLevels(ctx context.Context, classes []string) ([]level, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(ctx, jobsStream)
	if err != nil {
		return nil, err
	}
	var found []level
	names := s.ConsumerNames(ctx)
	for name := range names.Name() {
		if l, ok := parseDurable(name); ok && slices.Contains(classes, l.class) {
			found = append(found, l)
		}
	}
	if err := names.Err(); err != nil {
		return nil, fault(err, "list the queue's levels")
	}
	sortLevels(found, classes)
	return found, nil
}

func sortLevels(levels []level, classes []string) {
	slices.SortFunc(levels, func(a, b level) int {
		if a.priority != b.priority {
			return b.priority - a.priority
		}
		return slices.Index(classes, a.class) - slices.Index(classes, b.class)
	})
}
