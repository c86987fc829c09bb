package scu

import (
	"strings"
	"testing"
	"time"
)

// Whatever a trainer says, its job stays the job that was submitted, and a job that it
// doesn't run stays as it is.
func TestWords(t *testing.T) {
	t.Parallel()
	now := time.Now()
	sent := Submission(Job{Class: "cpu", Priority: 7, Owner: "ann", Config: DefaultConfig(), TrainData: File{ID: strings.Repeat("ab", 32)}}, now)
	started, err := sent.Job.Hear("a", Word{Type: EventStarted}, now)
	if err != nil || started.Job.Trainer != "a" || started.Job.Attempt != 1 {
		t.Fatal(started.Job, err)
	}
	bad := &Error{Code: CodeMemory, Message: strings.Repeat("x", 10_000)}
	words := []Word{
		{Type: EventPhase, Attempt: 1, Phase: PreparingData, Warnings: []string{strings.Repeat("w", 10_000)}},
		{Type: EventPhase, Attempt: 1, Phase: Training, From: 3, Steps: 10},
		{Type: EventCheckpoint, Attempt: 1, Checkpoint: &Checkpoint{Step: 5, Attempt: 99}},
		{Type: EventHandedBack, Attempt: 1},
		{Type: EventHandedBack, Attempt: 1, Error: bad},
		{Type: EventCompleted, Attempt: 1, Adapter: &Adapter{JobID: "another"}},
		{Type: EventFailed, Attempt: 1, Error: bad},
	}
	for _, w := range words {
		e, err := started.Job.Hear("a", w, now)
		if err != nil {
			t.Fatalf("%+v: %v", w, err)
		}
		if err := e.Follows(started.Job); err != nil || e.Type != w.Type {
			t.Errorf("%+v: %v", w, err)
		}
		j := e.Job
		if j.ID != sent.Job.ID || j.Class != "cpu" || j.Priority != 7 || j.Owner != "ann" || j.TrainData != sent.Job.TrainData || j.Attempt != 1 {
			t.Errorf("%s changed the job: %+v", w.Type, j)
		}
		for _, c := range j.Checkpoints {
			if c.Attempt != 1 {
				t.Errorf("a checkpoint of attempt %d", c.Attempt)
			}
		}
		if j.Adapter != nil && j.Adapter.JobID != j.ID {
			t.Errorf("an adapter of job %s", j.Adapter.JobID)
		}
		for _, text := range j.Warnings {
			if len(text) > maxText+100 {
				t.Errorf("a warning of %d bytes", len(text))
			}
		}
		if _, err := started.Job.Hear("b", w, now); CodeOf(err) != CodeConflict {
			t.Errorf("%s by another trainer: %v", w.Type, err)
		}
		old := w
		old.Attempt = 2
		if _, err := started.Job.Hear("a", old, now); CodeOf(err) != CodeConflict {
			t.Errorf("%s of another attempt: %v", w.Type, err)
		}
		old.Attempt = 0
		if _, err := started.Job.Hear("a", old, now); CodeOf(err) != CodeInvalid {
			t.Errorf("%s of no attempt: %v", w.Type, err)
		}
	}
	for _, w := range []Word{
		{Type: EventCancelled, Attempt: 1}, {Type: EventPaused, Attempt: 1}, {Type: EventDeleted, Attempt: 1}, {Type: EventRetried, Attempt: 1},
		{Type: EventResumed, Attempt: 1}, {Type: EventStop, Attempt: 1}, {Type: EventSubmitted, Attempt: 1}, {Type: "x", Attempt: 1}, {Attempt: 1},
		{Type: EventPhase, Attempt: 1, Phase: "x"}, {Type: EventCheckpoint, Attempt: 1}, {Type: EventCompleted, Attempt: 1}, {Type: EventFailed, Attempt: 1},
	} {
		if _, err := started.Job.Hear("a", w, now); CodeOf(err) != CodeInvalid {
			t.Errorf("%+v: %v", w, err)
		}
	}
}
