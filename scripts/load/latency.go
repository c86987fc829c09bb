//go:build unix

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// quantile is the value below which a share of the durations lies.
func quantile(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(share*float64(len(all))))]
}

// quantiles tells p50 and p99.
func quantiles(all []time.Duration) string {
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", quantile(all, 0.5).Seconds()*1e3, quantile(all, 0.99).Seconds()*1e3)
}

// rate tells so many things a second.
func rate(n int, took time.Duration) string {
	return fmt.Sprintf("%.0f/s", float64(n)/took.Seconds())
}

// times are durations that several take.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d)
}

// wait returns them once there are n, or as many as there are when ctx ends.
func (t *times) wait(ctx context.Context, n int) []time.Duration {
	for {
		t.mu.Lock()
		all := slices.Clone(t.all)
		t.mu.Unlock()
		if len(all) >= n || scu.Sleep(ctx, 10*time.Millisecond) != nil {
			return all
		}
	}
}

// watchStatus asks for the status of jobs in turn, each 5 ms, until stop is called, which
// returns how long each answer took, and what went wrong beside it or, if nothing did, here.
func watchStatus(ctx context.Context, c *client.Client, jobs ...string) (stop func(beside error) ([]time.Duration, error)) {
	asking, enough := context.WithCancel(ctx)
	var took []time.Duration
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for i := 0; asking.Err() == nil; i++ {
				start := time.Now()
				if _, err := c.Status(asking, jobs[i%len(jobs)]); err != nil {
					if asking.Err() != nil {
						return nil
					}
					return err
				}
				took = append(took, time.Since(start))
				_ = scu.Sleep(asking, 5*time.Millisecond)
			}
			return nil
		}()
	}()
	return func(beside error) ([]time.Duration, error) {
		enough()
		err := <-done
		return took, cmp.Or(beside, err)
	}
}
