package scu

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Checkpoint is a job's adapter as it was at a validation, kept as a zip beside the job's
// own (see [AdapterKey]). It can be had while the job runs and after its end, whichever
// way it ended.
type Checkpoint struct {
	Step      int       `json:"step"`               // optimiser steps made
	Attempt   int       `json:"attempt"`            // that stored it
	ValLoss   *float64  `json:"val_loss,omitempty"` // nats per token; nil without validation data
	CE        float64   `json:"ce"`                 // of the step
	S         float64   `json:"s_ratio"`            // of the step
	Best      bool      `json:"best"`               // it has the lowest validation loss so far
	Size      int64     `json:"size"`               // of the zip, bytes
	SHA256    string    `json:"sha256"`             // of the zip
	CreatedAt time.Time `json:"created_at"`
}

// Key names the zip of a job's checkpoint.
func (c Checkpoint) Key(job string) AdapterKey {
	return AdapterKey{Job: job, Attempt: c.Attempt, Step: c.Step}
}

// Store adds a checkpoint to the job's list, in the place of one of the same step. The
// newest keep of them stay, and the best.
func (j Job) Store(attempt int, c Checkpoint, keep int, now time.Time) (Event, error) {
	e, err := j.take(EventCheckpoint, attempt, now)
	if err != nil {
		return e, err
	}
	if c.Step > j.Reached {
		e.Job.Reached, e.Job.Tries = c.Step, 0
	}
	list := slices.DeleteFunc(slices.Clone(j.Checkpoints), func(o Checkpoint) bool { return o.Step == c.Step })
	list = append(list, c)
	slices.SortFunc(list, func(a, b Checkpoint) int { return cmp.Compare(a.Step, b.Step) })
	best := -1
	for i, o := range list {
		list[i].Best = false
		if o.ValLoss != nil && (best < 0 || *o.ValLoss < *list[best].ValLoss) {
			best = i
		}
	}
	if best >= 0 {
		list[best].Best = true
	}
	old := len(list) - keep
	i := -1
	e.Job.Checkpoints = slices.DeleteFunc(list, func(o Checkpoint) bool { i++; return i < old && !o.Best })
	return e, nil
}

// NewestCheckpoint returns the checkpoint that was stored last; ok reports whether there is
// one. Steps go up within an attempt.
func (j Job) NewestCheckpoint() (c Checkpoint, ok bool) {
	if len(j.Checkpoints) == 0 {
		return c, false
	}
	return slices.MaxFunc(j.Checkpoints, func(a, b Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Step, b.Step))
	}), true
}

// Checkpoint finds the checkpoint of a step, or "last" or "best".
func (j Job) Checkpoint(which string) (Checkpoint, error) {
	for i, c := range slices.Backward(j.Checkpoints) {
		if which == "last" && i == len(j.Checkpoints)-1 || which == "best" && c.Best || which == strconv.Itoa(c.Step) {
			return c, nil
		}
	}
	if len(j.Checkpoints) == 0 {
		return Checkpoint{}, Errorf(CodeNotFound, "job %s has no checkpoint", j.ID).WithHint("they are kept at validations, if keep_checkpoints isn't 0")
	}
	steps := make([]string, len(j.Checkpoints))
	for i, c := range j.Checkpoints {
		steps[i] = strconv.Itoa(c.Step)
	}
	return Checkpoint{}, Errorf(CodeNotFound, "job %s has no checkpoint %.40q", j.ID, which).WithHint("it has those of the steps %s; also last, and, with validation data, best", strings.Join(steps, ", "))
}
