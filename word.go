package scu

import (
	"context"
	"time"
)

// Word is what a trainer says of a job that it was handed: that it starts it, how far the
// attempt is, and how it ends. Whoever writes it into the log makes the entry, so a
// trainer changes nothing else of a job.
type Word struct {
	Type    EventType `json:"type"`              // started, phase, checkpoint, handed_back, completed or failed
	Attempt int       `json:"attempt,omitempty"` // which the trainer runs; none for started

	Phase    Phase    `json:"phase,omitempty"`    // phase: the one that begins
	From     int      `json:"from,omitempty"`     // phase training: the step of the checkpoint that the run goes on from
	Steps    int      `json:"steps,omitempty"`    // phase training: of the whole job
	Warnings []string `json:"warnings,omitempty"` // phase, handed_back: added to the job's

	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	Adapter    *Adapter    `json:"adapter,omitempty"` // completed
	Error      *Error      `json:"error,omitempty"`   // failed; handed_back: memory ran out, and the job is to be run with less
}

// Attempts is what a trainer needs of the log: it starts an attempt at a job and reports
// on it.
type Attempts interface {
	// Say writes into the log what a trainer says of a job and returns the job after it. A
	// word of an attempt that doesn't run any more, or of another trainer's, is
	// CodeConflict, with the job as it stands.
	Say(ctx context.Context, id, trainer string, w Word) (Job, error)
	// Fate returns a job as it stands; one that was deleted has the status Deleted. Of a
	// job that the trainer didn't run last it may be the status and the times alone.
	// CodeNotFound if there never was one.
	Fate(ctx context.Context, id, trainer string) (Job, error)
}

// Hear makes the entry for a trainer's word. A trainer that the job isn't with is refused,
// as Conflict, as an old attempt is.
func (j Job) Hear(trainer string, w Word, now time.Time) (Event, error) {
	if w.Type == EventStarted {
		return j.Start(trainer, now)
	}
	if w.Attempt <= 0 {
		return Event{}, Errorf(CodeInvalid, "a word without an attempt")
	}
	if j.Status == Running && j.Trainer != trainer {
		return Event{}, Errorf(CodeConflict, "job %s is with another trainer", j.ID)
	}
	w.Warnings = brief(w.Warnings)
	switch {
	case w.Type == EventPhase && w.Phase == Training:
		return j.Train(w.Attempt, w.From, w.Steps, w.Warnings, now)
	case w.Type == EventPhase && w.Phase.known():
		return j.Enter(w.Attempt, w.Phase, 0, w.Warnings, now)
	case w.Type == EventCheckpoint && w.Checkpoint != nil:
		c := *w.Checkpoint
		c.Attempt = w.Attempt
		return j.Store(w.Attempt, c, j.Config.KeepCheckpoints, now)
	case w.Type == EventHandedBack && w.Error != nil:
		return j.SaveMemory(w.Attempt, w.Error.Brief().Message, now)
	case w.Type == EventHandedBack:
		return j.HandBack(w.Attempt, now, w.Warnings...)
	case w.Type == EventCompleted && w.Adapter != nil:
		a := *w.Adapter
		a.JobID, a.Metrics.Warnings = j.ID, brief(a.Metrics.Warnings)
		return j.Complete(w.Attempt, a, now)
	case w.Type == EventFailed && w.Error != nil:
		return j.Fail(w.Attempt, w.Error, now)
	}
	return Event{}, Errorf(CodeInvalid, "a trainer says nothing of the kind %.40q", w.Type)
}

// brief cuts each text as [Error.Brief] does, and drops those that are too many.
func brief(texts []string) (out []string) {
	for _, t := range texts[:min(len(texts), maxWarnings)] {
		out = append(out, (&Error{Message: t}).Brief().Message)
	}
	return out
}

// known reports whether a trainer can be in the phase.
func (p Phase) known() bool {
	switch p {
	case LoadingModel, PreparingData, Training, SavingAdapter, Uploading:
		return true
	}
	return false
}
