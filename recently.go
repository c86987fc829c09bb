package scu

import (
	"context"
	"sync"
	"time"
)

// Recently returns a function that answers as ask did no longer ago than age. Those who
// come while it asks wait for the same answer; an error is nobody else's.
func Recently[T any](age time.Duration, ask func(context.Context) (T, error)) func(context.Context) (T, error) {
	var mu sync.Mutex
	var known T
	var asked time.Time
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if !asked.IsZero() && time.Since(asked) <= age {
			return known, nil
		}
		now, err := ask(context.WithoutCancel(ctx)) // it is others' answer too; the broker has a deadline
		if err == nil {
			known, asked = now, time.Now()
		}
		return now, err
	}
}
