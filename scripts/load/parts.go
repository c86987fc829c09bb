//go:build unix

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api"
)

// These two are asked side by side.
const (
	halted = "NATS: what is halted"
	place  = "PostgreSQL: the place in the queue"
)

// parts are what the API asks others for one status of a job, and how long it waits for each.
// Who looks at the statuses of jobs one after the other resets them before each.
type parts struct {
	mu    sync.Mutex
	waits map[string]time.Duration // nil while nobody looks
}

// reset returns what there was, and begins anew.
func (p *parts) reset() map[string]time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.waits
	p.waits = map[string]time.Duration{}
	return was
}

// timed measures one.
func (p *parts) timed(what string) (done func()) {
	start := time.Now()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.waits != nil {
			p.waits[what] += time.Since(start)
		}
	}
}

// watchedBroker measures what a status asks of NATS. A submission asks neither.
type watchedBroker struct {
	api.Broker
	parts *parts
}

func (b watchedBroker) Job(ctx context.Context, id string) (scu.Job, uint64, error) {
	defer b.parts.timed("NATS: the job")()
	return b.Broker.Job(ctx, id)
}

func (b watchedBroker) Halted(ctx context.Context) (scu.Halts, error) {
	defer b.parts.timed(halted)()
	return b.Broker.Halted(ctx)
}

// watchedStore measures what it asks of PostgreSQL.
type watchedStore struct {
	scu.ReadModel
	parts *parts
}

func (s watchedStore) Ahead(ctx context.Context, j scu.Job, seq uint64, ageing time.Duration) (scu.Ahead, error) {
	defer s.parts.timed(place)()
	return s.ReadModel.Ahead(ctx, j, seq, ageing)
}

func (s watchedStore) Latest(ctx context.Context, id string) (scu.Metrics, error) {
	defer s.parts.timed("PostgreSQL: the newest step")()
	return s.ReadModel.Latest(ctx, id)
}

// look is one look at a status.
type look struct {
	took  time.Duration
	parts map[string]time.Duration
}

// looks tells the quantiles of all and, of the slowest hundredth, what they waited for in the mean.
func looks(all []look) string {
	took := make([]time.Duration, len(all))
	for i, l := range all {
		took[i] = l.took
	}
	if len(all) == 0 {
		return quantiles(took)
	}
	slices.SortFunc(all, func(a, b look) int { return cmp.Compare(b.took, a.took) })
	slow := all[:max(1, len(all)/100)]
	mean := map[string]time.Duration{}
	for _, l := range slow {
		rest := l.took + min(l.parts[halted], l.parts[place])
		for name, d := range l.parts {
			mean[name] += d / time.Duration(len(slow))
			rest -= d
		}
		mean["the rest"] += rest / time.Duration(len(slow))
	}
	var of []string
	for name, d := range mean {
		of = append(of, fmt.Sprintf("%s %.1f ms", name, d.Seconds()*1e3))
	}
	slices.Sort(of)
	return quantiles(took) + "; the slowest hundredth, in the mean: " + strings.Join(of, ", ")
}
