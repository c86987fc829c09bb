package trainer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/estimate"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/optim"
	"github.com/shannon-control/scu/trainer/session"
)

// run is one attempt at a job, phase by phase.
type run struct {
	t   *Trainer
	job scu.Job

	base       *base.Model
	baseID     string // its fingerprint
	available  int64  // memory in bytes, before the model is loaded
	modules    []lora.Module
	train, val *data.Dataset // val may have no block
	plan       *data.Plan
	dev        kernels.Device
	weights    *model.Weights
	session    *session.Session
	release    func() // gives the session's memory back

	steps   int
	tokens  int64
	losses  checkpoint.Losses
	csv     bytes.Buffer
	last    scu.Metrics
	bound   int // steps in a row that lambda ended at a bound
	adapter scu.Adapter
	closers []func()
}

func (r *run) close() {
	for i := len(r.closers) - 1; i >= 0; i-- {
		r.closers[i]()
	}
}

func (r *run) onClose(f func()) { r.closers = append(r.closers, f) }

// do trains the job; the adapter is stored when it returns without an error.
func (r *run) do(ctx context.Context) error {
	started := time.Now()
	if err := r.loadModel(ctx); err != nil { // Start entered this phase
		return err
	}
	if err := r.begin(ctx, scu.PreparingData, 0, r.base.Spec.Warnings(r.modules)); err != nil {
		return err
	}
	if err := r.prepareData(ctx); err != nil {
		return err
	}
	saved, warnings := r.saved()
	if err := r.begin(ctx, scu.Training, r.steps, warnings); err != nil {
		return err
	}
	if err := r.trainSteps(ctx, saved); err != nil {
		return err
	}
	if err := r.begin(ctx, scu.SavingAdapter, 0, nil); err != nil {
		return err
	}
	return r.save(ctx, time.Since(started))
}

// begin tells the log that a phase starts; that fails when the attempt is over.
func (r *run) begin(ctx context.Context, p scu.Phase, steps int, warnings []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.t.append(ctx, r.job.ID, func(j scu.Job) (scu.Event, error) {
		return j.Begin(r.job.Attempt, p, steps, warnings, time.Now())
	})
	return err
}

func (r *run) loadModel(ctx context.Context) error {
	r.available = r.t.memory()
	dir, err := r.t.Bases.Locate(ctx, r.job.BaseModel)
	if err != nil {
		return err
	}
	if r.base, err = base.Open(dir); err != nil {
		return err
	}
	r.onClose(r.base.Close)
	if r.baseID, err = r.base.Fingerprint(); err != nil {
		return err
	}
	if r.modules, err = r.base.Modules(r.job.Config.LoRA); err != nil {
		return err
	}
	if err := r.base.FitBlock(&r.job.Config); err != nil {
		return err
	}
	if r.dev, err = r.t.Device(); err != nil {
		return err
	}
	r.onClose(func() { r.dev.Close() })
	if r.weights, err = model.Load(r.dev, r.base.Spec, r.base.Files, r.job.Config.BlockSize); err != nil {
		return base.Within("base_model", err)
	}
	r.onClose(r.weights.Close)
	return nil
}

func (r *run) prepareData(ctx context.Context) (err error) {
	cfg := &r.job.Config
	open := func(f scu.File) (*data.Dataset, error) {
		d, _, err := openData(ctx, r.t.Files, f, r.base, cfg, data.Cache{Dir: r.t.CacheDir, MaxBytes: r.t.CacheBytes})
		if err == nil {
			r.onClose(func() { d.Close() })
		}
		return d, err
	}
	if r.train, err = open(r.job.TrainData); err != nil {
		return base.Within("train_data_path", err)
	}
	if r.job.ValData != nil {
		if r.val, err = open(*r.job.ValData); err != nil {
			return base.Within("val_data_path", err)
		}
	} else {
		r.train, r.val = r.train.Split(cfg.ValFraction, cfg.Seed)
	}
	plan := data.PlanConfig{BatchSize: cfg.BatchSize, Accumulation: cfg.GradientAccumulationSteps, Epochs: cfg.Epochs, Seed: cfg.Seed}
	if cfg.Steps != nil {
		plan.Steps = *cfg.Steps
	}
	if r.plan, err = data.NewPlan(r.train, plan); err != nil {
		return err
	}
	r.steps = r.plan.Steps()
	return nil
}

// trainSteps trains, from a checkpoint where there is one, to the last step.
func (r *run) trainSteps(ctx context.Context, saved *checkpoint.State) error {
	cfg := r.job.Config
	work, err := estimate.Run{Spec: r.base.Spec, Types: r.base.Types(), Config: cfg, Work: estimate.WorkOf(r.train, r.val, &cfg), Available: r.available}.Plan(r.modules)
	if err != nil {
		return err
	}
	r.session, err = session.New(r.dev, r.weights, r.modules, lora.Init(r.modules, cfg.Seed), session.Config{
		Control: cfg.Control, PriorSigma: cfg.PriorSigma, EpochTokens: r.train.Tokens(), MaxGradNorm: cfg.MaxGradNorm,
		LearningRate: cfg.LearningRate, Warmup: optim.Warmup(r.steps), Steps: r.steps, Seed: cfg.Seed, Dropout: cfg.LoRA.Dropout,
		Workspace: work, MicroBatches: cfg.GradientAccumulationSteps,
	})
	if err != nil {
		return err
	}
	r.release = sync.OnceFunc(r.session.Close)
	r.onClose(r.release)
	first := 0
	if saved != nil {
		first = saved.Step
		r.resume(saved)
	} else {
		r.csv.WriteString(csvHeader)
		if r.losses.Before, err = r.validate(ctx); err != nil {
			return err
		}
	}
	clock := newClock(r.tokens)
	pace := checkpoint.NewPace(cfg.CheckpointEvery, lora.Count(r.modules), time.Now())
	for step := first; step < r.steps; step++ {
		if err := r.step(ctx, step, clock); err != nil {
			if ctx.Err() != nil && step > first && r.session.Optim.Steps == step { // broken off before it moved the weights
				r.checkpoint(step)
			}
			return err
		}
		done := step + 1
		if start := time.Now(); done < r.steps && pace.Due(done, start) {
			r.checkpoint(done)
			pace.Made(start, time.Now())
		}
	}
	return nil
}

// step makes one optimiser step and tells of it.
func (r *run) step(ctx context.Context, step int, clock *clock) error {
	batches, err := r.plan.Step(step)
	if err != nil {
		return err
	}
	micros := make([]model.Batch, len(batches))
	for i, b := range batches {
		micros[i] = model.Batch(b)
	}
	res, err := r.session.Step(ctx, micros)
	if err != nil {
		return err
	}
	done := step + 1
	var val *float64
	if every := r.job.Config.EvalSteps(r.steps); done == r.steps || done%every == 0 {
		if val, err = r.validate(ctx); err != nil {
			return err
		}
	}
	r.tokens = r.plan.Tokens(step)
	r.losses.Train = res.CE
	m := scu.Metrics{
		JobID: r.job.ID, Attempt: r.job.Attempt, Step: step, Steps: r.steps, Epoch: r.plan.Epoch(step),
		Loss: res.Loss, CE: res.CE, DataBPT: res.Bits.Data, ParamBPT: res.Bits.Param, TotalBPT: res.Bits.Data + res.Bits.Param,
		S: res.Bits.S, SHat: res.SHat, Lambda: res.Lambda, LambdaNext: res.LambdaNext, LearningRate: res.LR, GradNorm: res.GradNorm,
		ValLoss: val, Tokens: r.tokens, Timestamp: time.Now().UTC(),
	}
	m.TokensPerSecond, m.ETAMinutes = clock.rate(r.tokens, done, r.steps)
	csvRow(&r.csv, m)
	r.last = m
	r.watchBound()
	return r.t.Broker.PublishMetrics(ctx, r.t.Name, m)
}

// boundSteps is after how many steps in a row at a bound lambda counts as stuck.
const boundSteps = 20

func (r *run) watchBound() {
	if r.session.Control.AtBound() {
		r.bound++
	} else {
		r.bound = 0
	}
}

// validate is the mean loss over the validation blocks; nil where there are none.
func (r *run) validate(ctx context.Context) (*float64, error) {
	if r.val.Blocks() == 0 {
		return nil, nil
	}
	loss, err := r.session.Evaluate(ctx, r.val.Batches(r.job.Config.BatchSize))
	if err != nil {
		return nil, err
	}
	r.losses.Last = &loss
	return &loss, nil
}

// checkpoints is the folder of a job's checkpoints.
func (t *Trainer) checkpoints(jobID string) string { return filepath.Join(t.CheckpointDir, jobID) }

// digest names what makes this run: a checkpoint of anything else isn't taken.
func (r *run) digest() string {
	b, err := json.Marshal(struct {
		Config scu.Config
		Base   string
		Train  string
		Val    *scu.File
		Steps  int
		Device string
	}{r.job.Config, r.baseID, r.job.TrainData.ID, r.job.ValData, r.steps, r.dev.Name()})
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// checkpoint saves the run after step optimiser steps. A failure is told and
// costs only time: the job goes on.
func (r *run) checkpoint(step int) {
	s := r.session
	state := checkpoint.State{Run: r.digest(), Device: r.dev.Name(), Version: r.t.Version, Step: step, Tokens: r.tokens, Control: s.Control.State, AtBound: r.bound,
		Losses: r.losses, Metrics: r.csv.Bytes()}
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

// saved is the newest good checkpoint of this run, nil where there is none, and
// what to tell the user of how the job goes on.
func (r *run) saved() (*checkpoint.State, []string) {
	dir, id := r.t.checkpoints(r.job.ID), r.digest()
	state, ok, problems := checkpoint.Load(dir, id, lora.Count(r.modules))
	for _, err := range problems {
		r.t.Log.Warn("checkpoint passed over", "job", r.job.ID, "error", err)
	}
	switch {
	case ok && state.Version != r.t.Version:
		return &state, []string{fmt.Sprintf("trained to step %d by scu %s and from there by scu %s: the bytes may be neither's alone", state.Step, state.Version, r.t.Version)}
	case ok:
		return &state, nil
	}
	for _, other := range checkpoint.Others(dir, id) {
		if other.Device != r.dev.Name() {
			return nil, []string{fmt.Sprintf("begun again on %s: %s had come to step %d, and computes other last bits", r.dev.Name(), other.Device, other.Step)}
		}
	}
	return nil, nil
}

// resume puts a checkpoint's state in place.
func (r *run) resume(state *checkpoint.State) {
	s := r.session
	r.dev.WriteF32(s.Adapter.Param, state.Param)
	r.dev.WriteF32(s.Optim.M, state.M)
	r.dev.WriteF32(s.Optim.V, state.V)
	s.Optim.Steps, s.Control.State = state.Step, state.Control
	r.tokens, r.losses, r.bound = state.Tokens, state.Losses, state.AtBound
	r.csv.Write(state.Metrics)
	r.t.Log.Info("job goes on from a checkpoint", "job", r.job.ID, "step", state.Step)
}

// save stores the adapter and uploads it where that is asked.
func (r *run) save(ctx context.Context, took time.Duration) error {
	param, err := r.session.Params()
	if err != nil {
		return err
	}
	r.release() // the copies of the weights that follow don't come on top of it
	for i, x := range param {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return scu.Errorf(scu.CodeInvalid, "training diverged: weight %d of the adapter is %v", i, x).WithHint("lower learning_rate")
		}
	}
	files, err := r.artifacts(param)
	if err != nil {
		return err
	}
	zip, w := io.Pipe()
	go func() { w.CloseWithError(zipped(w, files)) }()
	size, sum, err := r.t.Broker.PutAdapter(ctx, r.job.ID, r.job.Attempt, zip)
	zip.Close() // the writer ends also where nobody read all of it
	if err != nil {
		return err
	}
	r.adapter = scu.Adapter{
		JobID: r.job.ID, BaseModel: r.job.BaseModel, Name: r.job.ID + "_adapter.zip", Size: size, SHA256: sum, Files: describe(files),
		Summary: scu.Summary{
			Steps: r.steps, Tokens: r.tokens, TrainLoss: r.losses.Train, ValLossBefore: r.losses.Before, ValLossAfter: r.losses.Last,
			S: r.last.S, Lambda: r.last.LambdaNext, Seconds: took.Seconds(), TrainableCount: int64(len(param)),
		},
		CreatedAt: time.Now().UTC(),
	}
	if r.bound >= boundSteps {
		r.adapter.Summary.Warnings = append(r.adapter.Summary.Warnings,
			fmt.Sprintf("lambda rested at its bound %.4g for the last %d steps, so S was not controlled; widen control.lambda_min or lambda_max, or use control.law log_pi", r.last.LambdaNext, r.bound))
	}
	if !r.job.Config.AutoUploadToHub {
		return nil
	}
	if err := r.begin(ctx, scu.Uploading, 0, nil); err != nil {
		return err
	}
	r.adapter.HubID, err = r.upload(ctx, files)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.adapter.HubError = err.Error()
		r.t.Log.Warn("adapter not uploaded", "job", r.job.ID, "error", err)
	}
	return nil
}

// clock gives the rate of tokens and the time that is left, over this attempt.
type clock struct {
	start  time.Time
	tokens int64 // before this attempt
	steps  int   // made in this attempt
}

func newClock(tokens int64) *clock { return &clock{start: time.Now(), tokens: tokens} }

func (c *clock) rate(tokens int64, done, steps int) (perSecond, etaMinutes float64) {
	c.steps++
	took := max(time.Since(c.start), 1)
	return float64(tokens-c.tokens) / took.Seconds(), took.Minutes() / float64(c.steps) * float64(steps-done)
}
