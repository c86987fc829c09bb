package store

import (
	"context"
	"fmt"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
)

// FromBroker is the Source of a running service.
func FromBroker(b *broker.Broker) Source { return brokerSource{b} }

type brokerSource struct{ broker *broker.Broker }

func (s brokerSource) End(ctx context.Context) (p Positions, err error) {
	p.State, p.Metrics, err = s.broker.End(ctx)
	return p, err
}

func (s brokerSource) Entries(ctx context.Context, at Positions, apply func(Batch) error) error {
	var failed error // apply's, which is nobody else's to explain
	err := s.broker.Events(ctx, at.State, at.Metrics, func(in broker.Batch) error {
		b := Batch{From: at, To: Positions{State: in.LastState, Metrics: in.LastMetrics}, Unreadable: in.Unreadable,
			State: make([]StateEntry, len(in.State)), Metrics: make([]MetricsEntry, len(in.Metrics))}
		for i, e := range in.State {
			b.State[i] = StateEntry(e)
		}
		for i, e := range in.Metrics {
			b.Metrics[i] = MetricsEntry(e)
		}
		at = b.To
		failed = apply(b)
		return failed
	})
	if failed == nil && scu.CodeOf(err) == scu.CodeConflict {
		return fmt.Errorf("%w: %w", ErrAhead, err)
	}
	return err
}
