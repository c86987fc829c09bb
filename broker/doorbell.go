package broker

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
)

// bellGroup is the queue group of idle trainers: a bell wakes one of them.
const bellGroup = "idle"

// doorbell hears when a job arrives at a level of one trainer's classes. A bell
// reaches one idle trainer; a trainer that takes a job rings again if more are waiting.
type doorbell struct {
	b       *Broker
	classes []string
	turns   *turns
	wake    chan struct{} // of capacity 1: rung has something

	mu   sync.Mutex
	rung map[level]bool // bells that came while idle; nil when not idle
}

func newDoorbell(b *Broker, classes []string, t *turns) *doorbell {
	return &doorbell{b: b, classes: classes, turns: t, wake: make(chan struct{}, 1)}
}

// join listens; leave stops listening and rings on what was not answered.
func (d *doorbell) join() (leave func(), err error) {
	d.mu.Lock()
	d.rung = map[level]bool{}
	d.mu.Unlock()
	var subs []*nats.Subscription
	leave = func() {
		d.mu.Lock()
		rest := d.rung
		d.rung = nil
		d.mu.Unlock()
		for _, s := range subs {
			s.Drain() // bells still on their way reach heard, which passes them on
		}
		for l := range rest {
			d.b.ring(l)
		}
	}
	for _, c := range d.classes {
		s, err := d.b.nc.QueueSubscribe("scu.bell."+c+".*", bellGroup, d.heard)
		if err != nil {
			leave()
			return nil, fault(err, "join the doorbell")
		}
		subs = append(subs, s)
	}
	return leave, nil
}

// heard notes a bell, or passes it on to another trainer if this one is busy.
func (d *doorbell) heard(m *nats.Msg) {
	l, ok := parseBell(m.Subject)
	if !ok {
		return
	}
	d.mu.Lock()
	idle := d.rung != nil
	if idle {
		d.rung[l] = true
	}
	d.mu.Unlock()
	if !idle {
		d.b.ring(l)
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// loudest takes the highest level that has rung of the owner whose turn it is.
func (d *doorbell) loudest() (level, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.rung) == 0 {
		return level{}, false
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(d.rung)), func(a, b level) int {
		return cmp.Or(d.turns.served[a.lane]-d.turns.served[b.lane], compareLevels(a, b, d.classes))
	})
	delete(d.rung, first)
	return first, true
}

// ring wakes one idle trainer that serves the level's class, if there is one.
func (b *Broker) ring(l level) {
	if err := b.nc.Publish(l.bell(), nil); err != nil {
		b.log.Warn("doorbell", "level", l.durable(), "error", err)
	}
}
