package trainer

import (
	"context"
	"sync"
	"time"

	"github.com/shannon-control/scu"
)

// Recently returns a function that lists trainers as ask did no longer ago than age: each
// question to the broker makes a consumer there. Those who come while it asks wait for
// the same answer.
func Recently(age time.Duration, ask func(context.Context) []scu.Presence) func(context.Context) []scu.Presence {
	var mu sync.Mutex
	var known []scu.Presence
	var asked time.Time
	return func(ctx context.Context) []scu.Presence {
		mu.Lock()
		defer mu.Unlock()
		if asked.IsZero() || time.Since(asked) > age {
			known = ask(context.WithoutCancel(ctx)) // it is others' answer too; the broker has a deadline
			asked = time.Now()
		}
		return known
	}
}
