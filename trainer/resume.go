package trainer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/lora"
)

// checkpoints is the folder of a job's checkpoints.
func (t *Trainer) checkpoints(jobID string) string { return filepath.Join(t.CheckpointDir, jobID) }

// shared keeps checkpoints for trainers that don't share the folder, if anybody does.
func (t *Trainer) shared() (checkpoint.Shared, bool) {
	return checkpoint.Shared{Blobs: t.Checkpoints}, t.Checkpoints != nil
}

// sendTime bounds the sending of one checkpoint: what takes longer is no help, and the run
// waits for it.
const sendTime = 2 * time.Minute

// digest identifies everything that determines the run: only its own checkpoints are
// taken.
func (r *run) digest() string {
	b, err := json.Marshal(struct {
		Config  scu.Config
		Base    string
		Train   string
		Sources scu.Sources `json:",omitempty"`
		Val     *scu.File
		Steps   int
		Device  string
		From    int `json:",omitempty"` // the attempt that began anew
	}{r.job.Config, r.baseID, r.job.TrainData.ID, r.job.Sources, r.job.ValData, r.steps, r.dev.Name(), r.job.FromAttempt})
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// checkpoint keeps the run as it is after so many optimiser steps, if it can.
func (r *run) checkpoint(ctx context.Context, step int) (kept bool) {
	state := r.snapshot(step)
	return state != nil && r.keep(ctx, *state)
}

// keepEnd keeps the run as it is after its last step, unless that is kept.
func (r *run) keepEnd(ctx context.Context) {
	if r.end != nil && r.keep(ctx, *r.end) {
		r.end = nil
	}
}

// snapshot is the run after so many optimiser steps; nil if the device can't tell.
func (r *run) snapshot(step int) *checkpoint.State {
	s := r.session
	state := checkpoint.State{Run: r.digest(), Device: r.dev.Name(), Version: r.t.Version, Attempt: r.job.Attempt, Step: step, Tokens: r.tokens, Control: s.Control.State, Scale: s.Scale, AtBound: r.bound,
		Losses: r.losses, Last: r.last, Open: r.open, Best: r.best, Stale: r.stale, Metrics: r.csv.Bytes()}
	for _, x := range []struct {
		dst *[]float32
		buf kernels.Buffer
	}{{&state.Param, s.Adapter.Param}, {&state.M, s.Optim.M}, {&state.V, s.Optim.V}} {
		*x.dst = make([]float32, x.buf.Len())
		if err := r.dev.ReadF32(*x.dst, x.buf); err != nil {
			r.t.Log.Error("checkpoint not made", "job", r.job.ID, "error", err)
			return nil
		}
	}
	return &state
}

// keep saves a checkpoint, and sends it to where trainers elsewhere find it. A failure is told of and
// the job goes on: it can only cost time.
func (r *run) keep(ctx context.Context, state checkpoint.State) (kept bool) {
	dir := r.t.checkpoints(r.job.ID)
	bytes := 4 * int64(len(state.Param)+len(state.M)+len(state.V))
	err := r.t.CheckpointRoom(bytes)
	if err == nil {
		err = checkpoint.Save(dir, state)
	}
	if err != nil {
		r.t.Log.Error("checkpoint not saved", "job", r.job.ID, "step", state.Step, "error", err)
		r.unstored(ctx, state.Step, err)
		return false
	}
	if shared, ok := r.t.shared(); ok {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTime) // it may be made since ctx ended
		defer cancel()
		err := r.t.Room(bytes)
		if err == nil {
			err = shared.Send(ctx, dir, state)
		}
		if err != nil {
			r.t.Log.Error("checkpoint not sent: a trainer elsewhere would go on from an older one", "job", r.job.ID, "step", state.Step, "error", err)
		}
	}
	return true
}

// saved returns the newest good checkpoint of this run, nil if there is none, and
// warnings for the user about how the job goes on.
func (r *run) saved(ctx context.Context) (_ *checkpoint.State, warnings []string) {
	dir, id := r.t.checkpoints(r.job.ID), r.digest()
	var problems []error
	if shared, ok := r.t.shared(); ok {
		problems = shared.Fetch(ctx, dir, id)
	}
	state, ok, damaged := checkpoint.Load(dir, id, lora.Count(r.modules))
	for _, err := range append(problems, damaged...) {
		r.t.Log.Warn("checkpoint passed over", "job", r.job.ID, "error", err)
	}
	if len(problems)+len(damaged) > 0 {
		from := "from the start"
		if ok {
			from = fmt.Sprintf("from the one of step %d", state.Step)
		}
		warnings = append(warnings, fmt.Sprintf("a checkpoint is damaged or can't be had: the job goes on %s", from))
	}
	switch {
	case ok && state.Version != r.t.Version:
		return &state, append(warnings, fmt.Sprintf("trained to step %d by scu %s and from there by scu %s: the adapter's bytes may differ from those of either version", state.Step, state.Version, r.t.Version))
	case ok:
		return &state, warnings
	}
	for _, other := range checkpoint.Others(dir, id) {
		if other.Device != r.dev.Name() {
			return nil, append(warnings, fmt.Sprintf("started over on %s: %s had reached step %d, but their results differ in the last bits", r.dev.Name(), other.Device, other.Step))
		}
	}
	return nil, warnings
}

// resume restores a checkpoint's state.
func (r *run) resume(state *checkpoint.State) {
	s := r.session
	r.dev.WriteF32(s.Adapter.Param, state.Param)
	r.dev.WriteF32(s.Optim.M, state.M)
	r.dev.WriteF32(s.Optim.V, state.V)
	s.Optim.Steps, s.Control.State = state.Step, state.Control
	if s.Scale != nil && state.Scale != nil {
		*s.Scale = *state.Scale
	}
	r.tokens, r.losses, r.bound = state.Tokens, state.Losses, state.AtBound
	r.best, r.stale, r.last = state.Best, state.Stale, state.Last
	r.csv.Write(state.Metrics)
	r.t.Log.Info("job goes on from a checkpoint", "job", r.job.ID, "step", state.Step)
}
