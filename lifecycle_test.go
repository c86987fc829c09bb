package scu_test

import (
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// How long a job ran is the sum of its attempts: while it is queued, paused or at its end, no time
// passes for it, and between an attempt that was lost and the next one it does.
func TestRan(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	j := scu.Submission(scu.Job{}, at).Job
	for _, next := range []struct {
		name  string
		after time.Duration
		wish  func(now time.Time) (scu.Event, error)
		want  time.Duration // just after it
	}{
		{"start", time.Hour, func(now time.Time) (scu.Event, error) { return j.Start("a", now) }, 0},
		{"phase", time.Minute, func(now time.Time) (scu.Event, error) { return j.Enter(1, scu.Training, 9, nil, now) }, time.Minute},
		{"pause", time.Minute, func(now time.Time) (scu.Event, error) { return j.Pause(now) }, 2 * time.Minute},
		{"resume", time.Hour, func(now time.Time) (scu.Event, error) { return j.Resume(now) }, 2 * time.Minute},
		{"start again", time.Hour, func(now time.Time) (scu.Event, error) { return j.Start("a", now) }, 2 * time.Minute},
		{"start after its trainer was lost", time.Minute, func(now time.Time) (scu.Event, error) { return j.Start("b", now) }, 3 * time.Minute},
		{"hand back", time.Minute, func(now time.Time) (scu.Event, error) { return j.HandBack(3, now) }, 4 * time.Minute},
		{"start once more", time.Hour, func(now time.Time) (scu.Event, error) { return j.Start("b", now) }, 4 * time.Minute},
		{"cancel", time.Minute, func(now time.Time) (scu.Event, error) { return j.Cancel(now) }, 5 * time.Minute},
		{"retry", time.Hour, func(now time.Time) (scu.Event, error) { return j.Retry(false, now) }, 5 * time.Minute},
		{"start a last time", time.Hour, func(now time.Time) (scu.Event, error) { return j.Start("b", now) }, 5 * time.Minute},
		{"complete", time.Minute, func(now time.Time) (scu.Event, error) { return j.Complete(5, scu.Adapter{}, now) }, 6 * time.Minute},
	} {
		at = at.Add(next.after)
		e, err := next.wish(at)
		if err != nil {
			t.Fatal(next.name, err)
		}
		j = e.Job
		if ran := j.Ran(at); ran != next.want {
			t.Errorf("%s: it ran %v, want %v", next.name, ran, next.want)
		}
	}
	if ran := j.Ran(at.Add(time.Hour)); ran != 6*time.Minute {
		t.Errorf("an hour after its end it ran %v", ran)
	}
}
