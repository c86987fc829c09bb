package scu

import (
	"slices"
	"time"
)

// EventType names a change of a job's state.
type EventType string

const (
	EventSubmitted  EventType = "submitted"
	EventStarted    EventType = "started"     // a trainer took the job: attempt + 1
	EventPhase      EventType = "phase"       // the running attempt began a phase
	EventHandedBack EventType = "handed_back" // the trainer can't go on, and another may: queued again
	EventCompleted  EventType = "completed"
	EventFailed     EventType = "failed"
	EventCancelled  EventType = "cancelled"
)

// Event is one entry of the state log: what happened, and the job after it.
type Event struct {
	Type EventType `json:"type"`
	Time time.Time `json:"time"`
	Job  Job       `json:"job"`
}

// The methods below are the state machine, pure: they return the event that
// takes the job on, or a Conflict error. The broker appends it by
// compare-and-set, so a rival that was faster makes the append fail.

// Submit is the first event of a job; it fills ID, Status and CreatedAt.
func Submit(j Job, now time.Time) Event {
	if j.ID == "" {
		j.ID = NewJobID()
	}
	j.Status, j.Attempt, j.CreatedAt = Queued, 0, now.UTC()
	return Event{EventSubmitted, now.UTC(), j}
}

// Start begins the next attempt. A job that is still marked running may be
// started again: its trainer is dead, since the queue handed the job out anew.
func (j Job) Start(trainer string, now time.Time) (Event, error) {
	if j.Status.Ended() {
		return Event{}, j.ended()
	}
	t := now.UTC()
	j.Status, j.Phase, j.Trainer = Running, LoadingModel, trainer
	j.Attempt++
	if j.StartedAt == nil {
		j.StartedAt = &t
	}
	return Event{EventStarted, t, j}, nil
}

// Begin enters a phase. steps, where known, is the job's number of optimiser
// steps; warnings are added to the job's.
func (j Job) Begin(attempt int, p Phase, steps int, warnings []string, now time.Time) (Event, error) {
	if err := j.Owned(attempt); err != nil {
		return Event{}, err
	}
	j.Phase = p
	if steps > 0 {
		j.Steps = steps
	}
	j.warn(warnings)
	return Event{EventPhase, now.UTC(), j}, nil
}

// HandBack queues the job again, for a trainer that shuts down or lacks something
// that may be there later. warnings are added to the job's.
func (j Job) HandBack(attempt int, now time.Time, warnings ...string) (Event, error) {
	if err := j.Owned(attempt); err != nil {
		return Event{}, err
	}
	j.Status, j.Phase = Queued, ""
	j.warn(warnings)
	return Event{EventHandedBack, now.UTC(), j}, nil
}

// maxWarnings bounds a job's warnings: one that is handed back again and again may
// get a new one each time.
const maxWarnings = 50

// warn adds warnings that the job doesn't have yet; the old list stays as it was.
// Where there are too many, the first ones and the newest stay.
func (j *Job) warn(warnings []string) {
	for _, w := range warnings {
		if slices.Contains(j.Warnings, w) {
			continue
		}
		j.Warnings = append(slices.Clone(j.Warnings), w)
		if len(j.Warnings) > maxWarnings {
			j.Warnings = slices.Delete(j.Warnings, maxWarnings/2, maxWarnings/2+1)
		}
	}
}

// Complete ends the job with its adapter.
func (j Job) Complete(attempt int, a Adapter, now time.Time) (Event, error) {
	if err := j.Owned(attempt); err != nil {
		return Event{}, err
	}
	j.Adapter = &a
	return j.end(EventCompleted, Completed, now), nil
}

// Fail ends the job with an error. attempt 0 is the supervisor's, who ends jobs
// that were tried too often, whoever owns them.
func (j Job) Fail(attempt int, e *Error, now time.Time) (Event, error) {
	if attempt != 0 {
		if err := j.Owned(attempt); err != nil {
			return Event{}, err
		}
	} else if j.Status.Ended() {
		return Event{}, j.ended()
	}
	j.Error = e.Brief()
	return j.end(EventFailed, Failed, now), nil
}

// Cancel ends the job at somebody's wish.
func (j Job) Cancel(now time.Time) (Event, error) {
	if j.Status.Ended() {
		return Event{}, j.ended()
	}
	return j.end(EventCancelled, Cancelled, now), nil
}

func (j Job) end(t EventType, s Status, now time.Time) Event {
	u := now.UTC()
	j.Status, j.CompletedAt = s, &u
	if s == Completed {
		j.Phase = ""
	}
	return Event{t, u, j}
}

func (j Job) ended() error {
	return Errorf(CodeConflict, "job %s is %s already", j.ID, j.Status)
}

// Owned refuses, as Conflict, what an attempt says that is not the running one.
func (j Job) Owned(attempt int) error {
	if j.Status.Ended() {
		return j.ended()
	}
	if j.Status != Running || j.Attempt != attempt {
		return Errorf(CodeConflict, "job %s is %s in attempt %d; attempt %d no longer owns it", j.ID, j.Status, j.Attempt, attempt)
	}
	return nil
}
