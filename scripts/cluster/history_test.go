//go:build unix

package main

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// history is what clients saw of a service, and what its log has, in order.
type history struct {
	accepted  map[string]string       // job: what was asked for, equal if the same was
	poisoned  map[string]bool         // job: it kills its trainers, and is to be given up
	cancelled map[string]bool         // job: a cancel was answered with success
	seen      map[string][]scu.Status // job: what its status was answered as, each change
	log       []scu.LogEntry
	metrics   []scu.MetricsEntry
	listed    map[string]scu.Status    // job: as the read model has it at the end
	rows      map[string][]scu.Metrics // job: its metrics there
	adapters  map[string]string        // job: digest of what it ended with
}

// violations are all that is wrong with a history.
func (h history) violations() (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	last := map[string]scu.Job{}
	ends := map[string]int{}
	type attempt struct {
		job string
		n   int
	}
	finished := map[attempt]string{} // by whom
	for i, e := range h.log {
		if i > 0 && e.Seq <= h.log[i-1].Seq {
			say("entry %d of the log comes after %d", e.Seq, h.log[i-1].Seq)
		}
		id := e.Event.Job.ID
		if err := e.Event.Follows(last[id]); err != nil {
			say("entry %d: %v", e.Seq, err)
		}
		// An old attempt's word has that attempt's trainer.
		if old := last[id]; e.Event.Type != scu.EventStarted && old.Status == scu.Running && e.Event.Job.Trainer != old.Trainer {
			say("entry %d: %s of %s, while attempt %d is %s's", e.Seq, e.Event.Type, e.Event.Job.Trainer, old.Attempt, old.Trainer)
		}
		if e.Event.Job.Status.Ended() {
			ends[id]++
		}
		if k := (attempt{id, e.Event.Job.Attempt}); e.Event.Type == scu.EventCompleted || e.Event.Type == scu.EventFailed && e.Event.Job.Attempt > 0 {
			if by, ended := finished[k]; ended {
				say("attempt %d of job %s was finished by %s and by %s", k.n, id, by, e.Event.Job.Trainer)
			}
			finished[k] = e.Event.Job.Trainer
		}
		last[id] = e.Event.Job
	}
	for _, id := range slices.Sorted(maps.Keys(h.accepted)) {
		j, known := last[id]
		switch {
		case !known:
			say("job %s was accepted and is not in the log", id)
			continue
		case ends[id] != 1:
			say("job %s ended %d times and is %s", id, ends[id], j.Status)
		case h.poisoned[id]:
			if j.Status != scu.Failed {
				say("job %s kills its trainers and is %s", id, j.Status)
			}
		case j.Status == scu.Failed:
			say("job %s failed: %v", id, j.Error)
		case h.cancelled[id] && j.Status != scu.Cancelled:
			say("the cancel of job %s was acknowledged and it is %s", id, j.Status)
		case h.listed[id] != j.Status:
			say("job %s is listed as %q and %s in the log", id, h.listed[id], j.Status)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(h.seen)) {
		for i, status := range h.seen[id] {
			if i > 0 && h.seen[id][i-1].Ended() {
				say("job %s was seen %s after it was seen %s", id, status, h.seen[id][i-1])
			}
		}
	}
	h.checkRows(say)
	same := map[string]string{} // what was asked for: the job whose adapter counts
	for _, id := range slices.Sorted(maps.Keys(h.adapters)) {
		asked := h.accepted[id]
		if first, known := same[asked]; !known {
			same[asked] = id
		} else if h.adapters[id] != h.adapters[first] {
			say("jobs %s and %s asked for the same (%s) and have other adapters", first, id, asked)
		}
	}
	return wrong
}

// checkRows compares the read model's metrics with a replay of their stream: the newest
// attempt's of each step.
func (h history) checkRows(say func(string, ...any)) {
	type key struct {
		job  string
		step int
	}
	replayed := map[key]scu.Metrics{}
	for _, e := range h.metrics {
		k := key{e.Metrics.JobID, e.Metrics.Step}
		if e.Metrics.Attempt >= replayed[k].Attempt {
			replayed[k] = e.Metrics
		}
	}
	count := map[string]int{}
	for k := range replayed {
		count[k.job]++
	}
	for id := range h.accepted {
		if len(h.rows[id]) != count[id] {
			say("job %s has %d rows of metrics, and its stream %d steps", id, len(h.rows[id]), count[id])
		}
		for _, row := range h.rows[id] {
			// Databases keep microseconds.
			want := replayed[key{id, row.Step}]
			if want.Attempt != row.Attempt || want.Loss != row.Loss || want.S != row.S || want.Lambda != row.Lambda ||
				row.Timestamp.Sub(want.Timestamp).Abs() > time.Millisecond {
				say("job %s, step %d: the row is %+v, the stream has %+v", id, row.Step, row, want)
			}
		}
	}
}

// A history that is right has no violation, and each kind of wrong is found.
func TestHistoryChecker(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	right := func() history {
		submitted := scu.Submission(scu.Job{ID: "0123456789abcdef"}, now)
		started, err := submitted.Job.Start("a", now)
		check(t, err)
		again, err := started.Job.Start("b", now) // a is dead
		check(t, err)
		done, err := again.Job.Complete(2, scu.Adapter{}, now)
		check(t, err)
		id := submitted.Job.ID
		h := history{
			accepted: map[string]string{id: "x"}, cancelled: map[string]bool{}, seen: map[string][]scu.Status{id: {scu.Queued, scu.Running, scu.Completed}},
			listed: map[string]scu.Status{id: scu.Completed}, adapters: map[string]string{id: "d"}, rows: map[string][]scu.Metrics{},
		}
		for i, e := range []scu.Event{submitted, started, again, done} {
			h.log = append(h.log, scu.LogEntry{Seq: uint64(i + 1), Event: e})
		}
		for i, m := range []scu.Metrics{{JobID: id, Attempt: 1, Step: 1, Loss: 3}, {JobID: id, Attempt: 1, Step: 2, Loss: 2}, {JobID: id, Attempt: 2, Step: 2, Loss: 2}} {
			h.metrics = append(h.metrics, scu.MetricsEntry{Seq: uint64(i + 1), Metrics: m})
		}
		h.rows[id] = []scu.Metrics{h.metrics[0].Metrics, h.metrics[2].Metrics}
		return h
	}
	if wrong := right().violations(); len(wrong) > 0 {
		t.Fatalf("a right history: %q", wrong)
	}
	const id, other = "0123456789abcdef", "fedcba9876543210"
	for name, spoil := range map[string]func(*history){
		"an accepted job is lost":         func(h *history) { h.accepted[other] = "y" },
		"a job doesn't end":               func(h *history) { h.log = h.log[:3] },
		"a job ends twice":                func(h *history) { h.log = append(h.log, scu.LogEntry{Seq: 5, Event: h.log[3].Event}) },
		"an old attempt's word wins":      func(h *history) { h.log[3].Event.Job.Attempt = 1 },
		"another trainer's word wins":     func(h *history) { h.log[3].Event.Job.Trainer = "a" },
		"the read model has other states": func(h *history) { h.listed[id] = scu.Running },
		"the read model lacks a row":      func(h *history) { h.rows[id] = h.rows[id][:1] },
		"the read model has an old row":   func(h *history) { h.rows[id][1] = h.metrics[1].Metrics },
		"a client sees an end undone":     func(h *history) { h.seen[id] = append(h.seen[id], scu.Running) },
		"an acknowledged cancel is lost":  func(h *history) { h.cancelled[id] = true },
		"other bytes": func(h *history) {
			h.accepted[other], h.adapters[other] = "x", "e"
			for _, e := range h.log {
				e.Seq += 10
				e.Event.Job.ID = other
				h.log = append(h.log, e)
			}
			h.listed[other] = scu.Completed
		},
	} {
		h := right()
		spoil(&h)
		if len(h.violations()) == 0 {
			t.Errorf("%s, and the checker finds nothing", name)
		}
	}
}
