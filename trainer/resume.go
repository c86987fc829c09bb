package trainer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/lora"
)

// checkpoints is the folder of a job's checkpoints.
func (t *Trainer) checkpoints(jobID string) string { return filepath.Join(t.CheckpointDir, jobID) }

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

// checkpoint saves the run after so many optimiser steps. A failure is logged and the
// job goes on: it can only cost time.
func (r *run) checkpoint(step int) {
	s := r.session
	state := checkpoint.State{Run: r.digest(), Device: r.dev.Name(), Version: r.t.Version, Attempt: r.job.Attempt, Step: step, Tokens: r.tokens, Control: s.Control.State, Scale: s.Scale, AtBound: r.bound,
		Losses: r.losses, Last: r.last, Best: r.best, Stale: r.stale, Metrics: r.csv.Bytes()}
	for _, x := range []struct {
		dst *[]float32
		buf kernels.Buffer
	}{{&state.Param, s.Adapter.Param}, {&state.M, s.Optim.M}, {&state.V, s.Optim.V}} {
		*x.dst = make([]float32, x.buf.Len())
		if err := r.dev.ReadF32(*x.dst, x.buf); err != nil {
			r.t.Log.Error("checkpoint not made", "job", r.job.ID, "error", err)
			return
		}
	}
	if err := checkpoint.Save(r.t.checkpoints(r.job.ID), state); err != nil {
		r.t.Log.Error("checkpoint not saved", "job", r.job.ID, "step", step, "error", err)
	}
}

// saved returns the newest good checkpoint of this run, nil if there is none, and
// warnings for the user about how the job goes on.
func (r *run) saved() (*checkpoint.State, []string) {
	dir, id := r.t.checkpoints(r.job.ID), r.digest()
	state, ok, problems := checkpoint.Load(dir, id, lora.Count(r.modules))
	for _, err := range problems {
		r.t.Log.Warn("checkpoint passed over", "job", r.job.ID, "error", err)
	}
	switch {
	case ok && state.Version != r.t.Version:
		return &state, []string{fmt.Sprintf("trained to step %d by scu %s and from there by scu %s: the adapter's bytes may differ from those of either version", state.Step, state.Version, r.t.Version)}
	case ok:
		return &state, nil
	}
	for _, other := range checkpoint.Others(dir, id) {
		if other.Device != r.dev.Name() {
			return nil, []string{fmt.Sprintf("started over on %s: %s had reached step %d, but their results differ in the last bits", r.dev.Name(), other.Device, other.Step)}
		}
	}
	return nil, nil
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
