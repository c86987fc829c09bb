package scu

import (
	"slices"
	"time"
)

// transition is one row of the state machine.
type transition struct {
	from []Status // the states it may follow; none for a first entry
	to   Status
	by   maker
}

// maker is who may make a transition.
type maker int

const (
	anyone            maker = iota
	owner                   // the attempt that runs
	ownerOrSupervisor       // it, or attempt 0: the supervisor, who ends jobs whoever owns them
)

// transitions is the state machine of a job, whole. A running job may be started again:
// its trainer is dead then, since the queue handed the job out anew. Nothing follows
// an end but its deletion and, unless the job is completed, a retry.
var transitions = map[EventType]transition{
	EventSubmitted:  {nil, Queued, anyone},
	EventScheduled:  {nil, Scheduled, anyone},
	EventStarted:    {[]Status{Queued, Running}, Running, anyone},
	EventPhase:      {[]Status{Running}, Running, owner},
	EventCheckpoint: {[]Status{Running}, Running, owner},
	EventStop:       {[]Status{Running}, Running, anyone},
	EventHandedBack: {[]Status{Running}, Queued, owner},
	EventPaused:     {[]Status{Queued, Running}, Paused, anyone},
	EventResumed:    {[]Status{Scheduled, Paused}, Queued, anyone},
	EventCompleted:  {[]Status{Running}, Completed, owner},
	EventFailed:     {[]Status{Queued, Running}, Failed, ownerOrSupervisor},
	EventCancelled:  {[]Status{Scheduled, Queued, Running, Paused}, Cancelled, anyone},
	EventRetried:    {[]Status{Failed, Cancelled}, Queued, anyone},
	EventDeleted:    {[]Status{Completed, Failed, Cancelled}, Deleted, anyone},
}

// take makes a transition: it returns the entry with the job in its new state, for the
// caller to fill in the rest, or a Conflict error. attempt is the one that asks.
func (j Job) take(t EventType, attempt int, now time.Time) (Event, error) {
	row := transitions[t]
	switch {
	case j.Status.Ended() && !slices.Contains(row.from, j.Status):
		return Event{}, j.ended()
	case t == EventDeleted && !j.Status.Ended():
		return Event{}, Errorf(CodeConflict, "job %s is %s; only jobs that have ended can be deleted", j.ID, j.Status).WithHint("cancel it first")
	case row.by == owner, row.by == ownerOrSupervisor && attempt != 0:
		if err := j.Owned(attempt); err != nil {
			return Event{}, err
		}
	}
	if !slices.Contains(row.from, j.Status) {
		return Event{}, Errorf(CodeConflict, "job %s is %s, which %q can't follow", j.ID, j.Status, t)
	}
	j.Status = row.to
	now = now.UTC()
	j.UpdatedAt = now
	if t == EventStarted || row.to != Running { // the attempt that ran is over
		j.RanSeconds, j.RunningSince = j.Ran(now).Round(time.Millisecond).Seconds(), nil
	}
	if row.to.Ended() && row.to != Deleted {
		j.CompletedAt = &now
	}
	return Event{Type: t, Time: now, Job: j, Version: LogVersion}, nil
}

// Follows returns why e can't be the entry after the one with the job before, nil if
// the state machine has such a transition. The first entry follows the zero Job.
func (e Event) Follows(before Job) error {
	row, known := transitions[e.Type]
	attempts := 0
	if e.Type == EventStarted {
		attempts = 1
	}
	switch {
	case !known:
		return Errorf(CodeInternal, "no transition is called %.40q", e.Type)
	case row.from == nil && before.ID != "", row.from != nil && (before.ID != e.Job.ID || !slices.Contains(row.from, before.Status)):
		return Errorf(CodeInternal, "entry %q of job %s can't follow the %s job %s", e.Type, e.Job.ID, before.Status, before.ID)
	case e.Job.Status != row.to:
		return Errorf(CodeInternal, "entry %q leaves job %s %s, not %s", e.Type, e.Job.ID, e.Job.Status, row.to)
	case e.Job.Attempt != before.Attempt+attempts:
		return Errorf(CodeInternal, "entry %q takes job %s from attempt %d to %d", e.Type, e.Job.ID, before.Attempt, e.Job.Attempt)
	}
	return nil
}

func (j Job) ended() error {
	return Errorf(CodeConflict, "job %s is %s already", j.ID, j.Status)
}

// Owned refuses, as Conflict, what an attempt other than the running one says.
func (j Job) Owned(attempt int) error {
	if j.Status.Ended() {
		return j.ended()
	}
	if j.Status != Running || j.Attempt != attempt {
		return Errorf(CodeConflict, "job %s is %s in attempt %d; attempt %d no longer owns it", j.ID, j.Status, j.Attempt, attempt)
	}
	return nil
}
