package scu

import (
	"slices"
	"time"
)

// EventType names a change of a job's state.
type EventType string

const (
	EventSubmitted  EventType = "submitted"
	EventScheduled  EventType = "scheduled"   // submitted, to be queued later
	EventStarted    EventType = "started"     // a trainer took the job: attempt + 1
	EventPhase      EventType = "phase"       // the running attempt began a phase
	EventCheckpoint EventType = "checkpoint"  // the running attempt stored its adapter as it is
	EventStop       EventType = "stop"        // a user wants it to end now, with what it has learned
	EventHandedBack EventType = "handed_back" // the trainer can't go on, and another may: queued again
	EventPaused     EventType = "paused"      // a user takes it out of the queue
	EventResumed    EventType = "resumed"     // paused before, or scheduled and due: queued
	EventRetried    EventType = "retried"     // queued again after its end
	EventCompleted  EventType = "completed"
	EventFailed     EventType = "failed"
	EventCancelled  EventType = "cancelled"
	EventDeleted    EventType = "deleted" // of a job that has ended: from now on there is none
)

// Event is one entry of the state log: what happened, and the job after it.
type Event struct {
	Type EventType `json:"type"`
	Time time.Time `json:"time"`
	Job  Job       `json:"job"`

	Version int `json:"version,omitempty"` // see LogVersion; 0 is 1
}

// LogVersion is what must be understood of an entry by whoever acts on it. A new field
// that may be left out of account doesn't raise it: those who don't know it keep it. A
// new status, or another meaning, does: those who don't know it leave the job alone.
const LogVersion = 1

// Understood returns why this version can't act on an entry: a newer one wrote it.
func (e Event) Understood() error {
	if e.Version <= LogVersion && (slices.Contains(Statuses, e.Job.Status) || e.Job.Status == Deleted) {
		return nil
	}
	return Errorf(CodeUnavailable, "job %.40s is as a newer version of scu left it (%.40s, format %d; this one knows %d)", e.Job.ID, e.Job.Status, e.Version, LogVersion).
		WithHint("upgrade this process")
}

// The functions below make the entries that the table of transitions allows, and fill them in. They
// are pure. The broker appends by compare-and-set, so if a rival was faster the append
// fails.

// Submission makes the first entry of a job; it fills in ID, Status and CreatedAt. A job
// whose NotBefore is still to come is scheduled.
func Submission(j Job, now time.Time) Event {
	if j.ID == "" {
		j.ID = NewJobID()
	}
	kind := EventSubmitted
	if j.NotBefore != nil && j.NotBefore.After(now) {
		kind = EventScheduled
	}
	j.Status, j.Attempt, j.CreatedAt, j.UpdatedAt = transitions[kind].to, 0, now.UTC(), now.UTC()
	return Event{Type: kind, Time: now.UTC(), Job: j, Version: LogVersion}
}

// Start begins the next attempt, on the trainer of that name.
func (j Job) Start(trainer string, now time.Time) (Event, error) {
	e, err := j.take(EventStarted, 0, now)
	if err != nil {
		return e, err
	}
	e.Job.Phase, e.Job.Trainer = LoadingModel, trainer
	e.Job.Attempt++
	e.Job.Tries++
	e.Job.RunningSince = &e.Time
	if e.Job.StartedAt == nil {
		e.Job.StartedAt = &e.Time
	}
	return e, nil
}

// Enter begins a phase. steps, if known, is the job's number of optimiser steps;
// warnings are added to the job's.
func (j Job) Enter(attempt int, p Phase, steps int, warnings []string, now time.Time) (Event, error) {
	e, err := j.take(EventPhase, attempt, now)
	if err != nil {
		return e, err
	}
	e.Job.Phase = p
	if steps > 0 {
		e.Job.Steps = steps
	}
	e.Job.warn(warnings)
	return e, nil
}

// Train begins the phase Training, from a checkpoint of so many steps, 0 if there is
// none. One that is further than all before shows that the attempts until now moved on.
func (j Job) Train(attempt, from, steps int, warnings []string, now time.Time) (Event, error) {
	e, err := j.Enter(attempt, Training, steps, warnings, now)
	if err == nil && from > j.Reached {
		e.Job.Reached, e.Job.Tries = from, 1
	}
	return e, err
}

// HandBack queues the job again, for a trainer that shuts down or lacks something
// that may be there later: that attempt is no try. warnings are added to the job's.
func (j Job) HandBack(attempt int, now time.Time, warnings ...string) (Event, error) {
	e, err := j.take(EventHandedBack, attempt, now)
	if err != nil {
		return e, err
	}
	e.Job.Phase = ""
	e.Job.Tries = max(0, j.Tries-1)
	e.Job.warn(warnings)
	return e, nil
}

// Complete ends the job with its adapter. What is to be said of how the run ended
// comes before the job's other warnings.
func (j Job) Complete(attempt int, a Adapter, now time.Time) (Event, error) {
	e, err := j.take(EventCompleted, attempt, now)
	if err != nil {
		return e, err
	}
	e.Job.Adapter, e.Job.Phase, e.Job.Warnings = &a, "", nil
	e.Job.warn(a.Metrics.Warnings)
	e.Job.warn(j.Warnings)
	return e, nil
}

// Fail ends the job with an error. attempt 0 is the supervisor, who ends jobs that were
// tried too often, whoever owns them.
func (j Job) Fail(attempt int, why *Error, now time.Time) (Event, error) {
	e, err := j.take(EventFailed, attempt, now)
	if err != nil {
		return e, err
	}
	e.Job.Error, e.Job.GivenUp = why.Brief(), attempt == 0
	return e, nil
}

// Stop asks the running attempt to end now and to keep what was learned: it completes
// the job. A job that waits has nothing yet, or what its checkpoints hold.
func (j Job) Stop(now time.Time) (Event, error) {
	e, err := j.take(EventStop, 0, now)
	if err != nil {
		if j.Status == Queued {
			err = Errorf(CodeConflict, "job %s is queued: there is no run to stop", j.ID).WithHint("cancel it; the checkpoints that it has stay")
		}
		return e, err
	}
	e.Job.Stopping = true
	return e, nil
}

// Cancel ends the job at a user's request.
func (j Job) Cancel(now time.Time) (Event, error) { return j.take(EventCancelled, 0, now) }

// Delete removes a job that has ended. The entry says no more of it than whose it was
// and when.
func (j Job) Delete(now time.Time) (Event, error) {
	e, err := j.take(EventDeleted, 0, now)
	if err != nil {
		return e, err
	}
	e.Job = Job{
		ID: j.ID, Owner: j.Owner, Status: e.Job.Status, Attempt: j.Attempt,
		CreatedAt: j.CreatedAt, UpdatedAt: e.Job.UpdatedAt, StartedAt: j.StartedAt, CompletedAt: j.CompletedAt,
	}
	return e, nil
}

// maxWarnings bounds a job's warnings: one that is handed back again and again may
// get a new one each time.
const maxWarnings = 50

// warn adds warnings that the job doesn't have yet; the old list stays as it was.
// If there are too many, the first ones and the newest stay.
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
