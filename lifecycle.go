package scu

import "time"

// The transitions that a user makes of a job that is not running to its end at once: it
// waits for its time, is paused and resumed, and is tried again after its end.

// Pause takes a job out of the queue until it is resumed. A running one is given up by
// its trainer, which keeps a checkpoint: that attempt is no try.
func (j Job) Pause(now time.Time) (Event, error) {
	e, err := j.take(EventPaused, 0, now)
	if err != nil {
		if j.Status == Scheduled {
			err = Errorf(CodeConflict, "job %s waits for its time, %s", j.ID, j.NotBefore.Format(time.RFC3339)).WithHint("cancel it, or resume it to queue it now")
		}
		return e, err
	}
	if j.Status == Running {
		e.Job.Phase = ""
		e.Job.Tries = max(0, j.Tries-1)
	}
	return e, nil
}

// Resume queues a paused job again, and a scheduled one before its time or at it.
func (j Job) Resume(now time.Time) (Event, error) { return j.take(EventResumed, 0, now) }

// Retry queues a job again that failed or was cancelled, with all its tries before it. It
// goes on from its last checkpoint, if there is one, or anew if fromStart.
func (j Job) Retry(fromStart bool, now time.Time) (Event, error) {
	e, err := j.take(EventRetried, 0, now)
	if err != nil {
		if !j.Status.Ended() {
			err = Errorf(CodeConflict, "job %s is %s; only jobs that failed or were cancelled can be retried", j.ID, j.Status)
		}
		return e, err
	}
	if j.Error != nil {
		e.Job.warn([]string{"retried after it failed: " + j.Error.Message})
	}
	e.Job.CompletedAt, e.Job.Error, e.Job.GivenUp, e.Job.Phase, e.Job.Stopping, e.Job.Tries = nil, nil, false, "", false, 0
	e.Job.Retries++
	if fromStart {
		e.Job.FromAttempt, e.Job.Reached = j.Attempt+1, 0
	}
	return e, nil
}

// SaveMemory queues a running job again after its device ran out of memory, to be run with
// activations computed again in the backward pass. A job that is run so already is a
// Conflict: it fails.
func (j Job) SaveMemory(attempt int, why string, now time.Time) (Event, error) {
	if j.SaveActivations {
		return Event{}, Errorf(CodeConflict, "job %s computes activations again already", j.ID)
	}
	e, err := j.HandBack(attempt, now, "out of memory; tried once more with activations computed again: "+why)
	if err == nil {
		e.Job.SaveActivations = true
	}
	return e, err
}
