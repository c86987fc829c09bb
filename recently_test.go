package scu

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// It is asked once in a while, even if the first who asked has left; an error isn't kept.
func TestRecently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, broken := 0, false
		answer := Recently(time.Second, func(ctx context.Context) (int, error) {
			asked++
			if broken {
				return 0, errors.New("away")
			}
			return asked, ctx.Err()
		})
		want := func(n int, failed bool) {
			t.Helper()
			if got, err := answer(t.Context()); got != n || (err != nil) != failed {
				t.Errorf("got %d, %v; want %d", got, err, n)
			}
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		answer(gone)
		want(1, false)
		time.Sleep(2 * time.Second)
		want(2, false)
		time.Sleep(2 * time.Second)
		broken = true
		want(0, true)
		broken = false
		want(4, false)
	})
}

// Who comes often waits for the first answer alone, and never has one that is older than allowed.
func TestRecentlyAsksAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const age, takes = time.Second, 300 * time.Millisecond
		answer := Recently(age, func(context.Context) (time.Time, error) {
			time.Sleep(takes)
			return time.Now(), nil
		})
		answer(t.Context())
		for range 100 {
			begin := time.Now()
			got, err := answer(t.Context())
			if waited := time.Since(begin); err != nil || waited > 0 || time.Since(got) > age {
				t.Fatalf("waited %v for an answer %v old, %v", waited, time.Since(got), err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(takes) // what is asked is answered
	})
}
