package scu

import (
	"context"
	"sync"
	"time"
)

// Recently returns a function that answers as ask did no longer ago than age. Those who
// come while it asks wait for the same answer; an error is nobody else's. Whoever comes in the
// second half of that time has it asked anew, beside, so that nobody waits while many come.
func Recently[T any](age time.Duration, ask func(context.Context) (T, error)) func(context.Context) (T, error) {
	r := &recent[T]{ask: ask, turn: make(chan struct{}, 1)}
	return func(ctx context.Context) (T, error) {
		ctx = context.WithoutCancel(ctx) // it is others' answer too; the broker has a deadline
		known, old := r.answer()
		if old > age {
			r.turn <- struct{}{}
			defer func() { <-r.turn }()
			if known, old = r.answer(); old > age {
				return r.renew(ctx)
			}
			return known, nil
		}
		if old > age/2 {
			select {
			case r.turn <- struct{}{}:
				go func() {
					defer func() { <-r.turn }()
					_, _ = r.renew(ctx) // the caller that waits for it in the end gets its error
				}()
			default: // it is asked
			}
		}
		return known, nil
	}
}

// recent is an answer, and when it was asked for.
type recent[T any] struct {
	ask  func(context.Context) (T, error)
	turn chan struct{} // of capacity 1: held by the caller that asks

	mu    sync.Mutex
	known T
	asked time.Time // zero: never
}

// answer is what is known, and how old it is.
func (r *recent[T]) answer() (T, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known, time.Since(r.asked)
}

// renew asks.
func (r *recent[T]) renew(ctx context.Context) (T, error) {
	now, err := r.ask(ctx)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.known, r.asked = now, time.Now()
	}
	return now, err
}
