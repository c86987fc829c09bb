package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// standings returns every level of the queue that has jobs, as the server has them now.
func (b *Broker) standings(ctx context.Context) ([]standing, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(ctx, jobsStream)
	if err != nil {
		return nil, err
	}
	var found []standing
	consumers := s.ListConsumers(ctx)
	for c := range consumers.Info() {
		l, ok := parseDurable(c.Name)
		if !ok || c.NumPending == 0 && c.NumAckPending == 0 {
			continue
		}
		next := c.Delivered.Stream + 1
		if c.NumPending == 0 {
			next = c.AckFloor.Stream + 1
		}
		found = append(found, standing{l, int(c.NumPending), c.NumAckPending, next})
	}
	return found, fault(consumers.Err(), "list the queue's levels")
}

// SeesQueue returns CodeForbidden if this login may not list the queue, as those of versions
// before jobs had owners may not: who takes jobs without an arbiter has to.
func (b *Broker) SeesQueue(ctx context.Context) error {
	_, err := b.standings(ctx)
	if err != nil && b.deniedTo("$JS.API.CONSUMER.LIST.") {
		return scu.Errorf(scu.CodeForbidden, "this login of NATS is of a version whose rights are too few for this one").
			WithHint("upgrade the APIs first; then scu nats-auth --update, and nats-server --signal reload")
	}
	return err
}

// heads remembers when the next jobs of levels were queued.
type heads map[level]head

type head struct {
	next uint64 // as the level stood
	at   time.Time
}

// queued returns when a level's next job was queued.
func (q *queue) queued(ctx context.Context, l standing) (time.Time, error) {
	if h, ok := q.heads[l.level]; ok && h.next == l.next {
		return h.at, nil
	}
	m, err := q.b.message(ctx, jobsStream, l.next, jetstream.WithGetMsgSubject(l.filter()))
	if errors.Is(err, jetstream.ErrMsgNotFound) { // taken meanwhile
		return q.b.opts.Now(), nil
	}
	if err != nil {
		return time.Time{}, err
	}
	q.heads[l.level] = head{l.next, m.Time}
	return m.Time, nil
}

// laneIdle is how long an owner's level has to be empty before it is removed: its
// consumer costs the server memory, and in a cluster a vote.
const laneIdle = time.Hour

// sweepLanes removes the levels of owners who submit nothing any more. idle remembers
// since when each was seen to be empty, and how much it had handed out.
func (b *Broker) sweepLanes(ctx context.Context, s jetstream.Stream, known map[string]*jetstream.ConsumerInfo, idle map[string]idleLane) error {
	now := b.opts.Now()
	for name := range idle {
		if known[name] == nil {
			delete(idle, name)
		}
	}
	for name, c := range known {
		l, ok := parseDurable(name)
		if !ok || l.lane == "" {
			continue
		}
		was, seen := idle[name]
		switch {
		case c.NumPending > 0 || c.NumAckPending > 0:
			delete(idle, name)
		case !seen || was.delivered != c.Delivered.Consumer:
			idle[name] = idleLane{now, c.Delivered.Consumer}
		case now.Sub(was.since) > laneIdle:
			delete(idle, name)
			b.levels.forget(l)
			if err := s.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return fault(err, "remove queue level %s", name)
			}
		}
	}
	return nil
}

type idleLane struct {
	since     time.Time
	delivered uint64
}

// ofLane are the standings of one lane.
func ofLane(all []standing, lane string) []standing {
	return slices.DeleteFunc(slices.Clone(all), func(s standing) bool { return s.lane != lane })
}
