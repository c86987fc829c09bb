package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// watch gathers a job's events, as "status/attempt" and "attempt.step", until it ends.
func (r *rig) watch(id string, after int) []string {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), longest)
	defer cancel()
	var got []string
	must(r, r.sdk.Watch(ctx, id, after, func(e client.Event) error {
		if s := e.Status; s != nil {
			got = append(got, fmt.Sprintf("%s/%d", s.Status, s.Attempt))
		} else {
			got = append(got, fmt.Sprintf("%d.%d", e.Metrics.Attempt, e.Metrics.Step))
		}
		return nil
	}))
	return slices.Compact(got) // phases
}

// Event streams need no read model: with a projector that stands still they lose
// nothing and double nothing.
func TestEventsWithoutProjector(t *testing.T) {
	r := start(t, nil)
	r.stop()
	id := r.submit(nil)
	seen, live := make(chan string, 100), make(chan error, 1)
	go func() {
		live <- r.sdk.Watch(r.Context(), id, 0, func(e client.Event) error {
			if e.Metrics != nil {
				seen <- fmt.Sprintf("%d.%d", e.Metrics.Attempt, e.Metrics.Step)
			} else if e.Status.Status.Ended() {
				seen <- fmt.Sprintf("%s, %d of %d", e.Status.Status, e.Status.Step, e.Status.TotalSteps)
			}
			return nil
		})
	}()
	j := r.begin(id, 6)
	for step := range 3 {
		r.step(j, step)
	}
	r.step(j, 2) // sent again, as after a lost answer
	again := r.begin(id, 6)
	for step := 2; step < 6; step++ {
		r.step(again, step)
	}
	r.step(j, 3) // of the attempt that is given up
	r.complete(again, makeZip(t, map[string]string{"a": "b"}))

	steps := []string{"1.1", "1.2", "1.3", "2.3", "2.4", "2.5", "2.6"}
	for _, want := range append(slices.Clone(steps), "completed, 6 of 6") {
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		case <-time.After(longest):
			t.Fatalf("%s does not come", want)
		}
	}
	must(t, <-live)

	// Those who come later see the same, from where they were.
	for after, want := range map[int][]string{
		0:  steps,
		2:  steps[2:],
		3:  steps[3:], // whichever attempt's it was: nothing is lost
		5:  steps[6:],
		6:  nil,
		10: nil,
	} {
		if got := r.watch(id, after); !slices.Equal(got, append(slices.Clone(want), "completed/2")) {
			t.Errorf("after step %d: %v, want %v", after, got, want)
		}
	}
}

// A job that ends without a step, and one that is cancelled amid its steps.
func TestEventsOfShortJobs(t *testing.T) {
	r := start(t, nil)
	r.stop()
	id := r.submit(nil)
	_, err := r.sdk.Cancel(t.Context(), id)
	must(t, err)
	if got := r.watch(id, 0); !slices.Equal(got, []string{"cancelled/0"}) {
		t.Error(got)
	}
	id = r.submit(nil)
	j := r.begin(id, 6)
	r.step(j, 0)
	r.step(j, 1)
	must(t, r.broker.FlushMetrics(t.Context()))
	_, err = r.sdk.Cancel(t.Context(), id)
	must(t, err)
	if got := r.watch(id, 0); !slices.Equal(got, []string{"1.1", "1.2", "cancelled/1"}) {
		t.Error(got)
	}
}

// forgetful has a last step at first, and then none: its job is being deleted.
type forgetful struct {
	Broker
	asked int
}

func (f *forgetful) LastMetrics(ctx context.Context, id string) (scu.MetricsEntry, error) {
	if f.asked++; f.asked < 3 {
		return scu.MetricsEntry{Seq: 1 << 40}, nil
	}
	return f.Broker.LastMetrics(ctx, id)
}

// The stream of a job that has ended ends, though its steps are deleted meanwhile.
func TestEventsOfAJobBeingDeleted(t *testing.T) {
	r := start(t, func(o *Options) { o.Broker = &forgetful{Broker: o.Broker} })
	id := r.submit(nil)
	r.complete(r.begin(id, 1), []byte("a zip"))
	status, _, body := r.ask("GET", "/jobs/"+id+"/events", "")
	if status != 200 || !strings.Contains(body, `"status":"completed"`) {
		t.Errorf("%d: %s", status, body)
	}
}
