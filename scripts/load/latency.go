//go:build unix

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
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
// returns how long each answer took and what it waited for, and what went wrong beside it or, if
// nothing did, here.
func (w *world) watchStatus(ctx context.Context, c *client.Client, jobs ...string) (stop func(beside error) ([]look, error)) {
	i := 0
	return watch(ctx, func(ctx context.Context) (map[string]time.Duration, error) {
		w.parts.reset()
		_, err := c.Status(ctx, jobs[i%len(jobs)])
		i++
		return w.parts.reset(), err
	})
}

// watchLife does so with what the API answers without asking anybody: no other answer can be faster.
func (w *world) watchLife(ctx context.Context) (stop func(beside error) ([]look, error)) {
	return watch(ctx, func(ctx context.Context) (map[string]time.Duration, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/livez", nil)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body) // else the next one would connect anew
		return nil, err
	})
}

// watch asks each 5 ms, until stop is called. ask returns what its answer waited for.
func watch(ctx context.Context, ask func(context.Context) (map[string]time.Duration, error)) (stop func(beside error) ([]look, error)) {
	asking, enough := context.WithCancel(ctx)
	var all []look
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for asking.Err() == nil {
				start := time.Now()
				waits, err := ask(asking)
				if asking.Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				all = append(all, look{time.Since(start), waits})
				_ = scu.Sleep(asking, 5*time.Millisecond)
			}
			return nil
		}()
	}()
	return func(beside error) ([]look, error) {
		enough()
		err := <-done
		return all, cmp.Or(beside, err)
	}
}
