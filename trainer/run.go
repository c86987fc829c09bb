package trainer

import (
	"bytes"
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/telemetry"
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
	t        *Trainer
	job      scu.Job
	stopping <-chan struct{} // closed when a user wants what was learned so far

	base       *base.Model
	baseID     string // its fingerprint
	available  int64  // memory in bytes for the model and what trains it
	modules    []lora.Module
	train, val *data.Dataset // val may have no block
	other      *data.Dataset // text of another kind; nil if there is none
	work       estimate.Work
	plan       *data.Plan
	dev        kernels.Device
	weights    *model.Weights
	keeps      bool // activations that a next attempt may compute again
	session    *session.Session
	release    func() // gives the session's memory back

	dataWarnings []string
	sources      []scu.SourceReport // of several, what is trained on

	steps   int
	tokens  int64
	next    []model.Batch // of the next step; nil if they aren't read yet
	losses  checkpoint.Losses
	csv     bytes.Buffer
	last    scu.Metrics
	open    *scu.Metrics      // of a step that moved the weights and isn't finished
	end     *checkpoint.State // of the last step, while the adapter is saved; nil if that is kept
	warned  bool              // of a checkpoint that could not be stored
	bound   int               // steps in a row that lambda ended at a bound
	best    *checkpoint.Best
	stale   int    // validations since the best one
	ending  bool   // a stop was asked for before this step's validation
	early   string // why the run ended before its last step
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
	if err := telemetry.Span(ctx, string(scu.LoadingModel), r.loadModel); err != nil { // Start entered this phase
		return err
	}
	if err := r.begin(ctx, scu.PreparingData, r.base.Spec.Warnings(r.modules)); err != nil {
		return err
	}
	if err := telemetry.Span(ctx, string(scu.PreparingData), r.prepareData); err != nil {
		return err
	}
	saved, warnings := r.saved(ctx)
	if err := r.beginTraining(ctx, saved, append(warnings, r.dataWarnings...)); err != nil {
		return err
	}
	train := func(ctx context.Context) error { return r.trainSteps(ctx, saved) }
	if err := telemetry.Span(ctx, string(scu.Training), train, attribute.Int("scu.steps", r.steps)); err != nil {
		return err
	}
	err := r.begin(ctx, scu.SavingAdapter, nil)
	if err == nil {
		save := func(ctx context.Context) error { return r.save(ctx, time.Since(started)) }
		err = telemetry.Span(ctx, string(scu.SavingAdapter), save)
	}
	if err != nil {
		r.keepEnd(ctx) // who goes on saves it, and trains nothing again
	}
	return err
}

// begin records in the log that a phase starts; it fails if the attempt is over.
func (r *run) begin(ctx context.Context, p scu.Phase, warnings []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.t.say(ctx, r.job.ID, scu.Word{Type: scu.EventPhase, Attempt: r.job.Attempt, Phase: p, Warnings: warnings})
	return err
}

// beginTraining is begin, with the checkpoint that the run goes on from, nil if there is
// none: the log counts the attempts that don't move the job on.
func (r *run) beginTraining(ctx context.Context, saved *checkpoint.State, warnings []string) error {
	from := 0
	if saved != nil {
		from = saved.Step
	}
	_, err := r.t.say(ctx, r.job.ID, scu.Word{Type: scu.EventPhase, Attempt: r.job.Attempt, Phase: scu.Training, From: from, Steps: r.steps, Warnings: warnings})
	return err
}

func (r *run) loadModel(ctx context.Context) error {
	dir, err := r.t.Bases.Locate(ctx, r.job.Config.Base())
	if err != nil {
		return err
	}
	kept := &r.t.resident
	open := func(dir string) (*base.Model, error) { return r.t.Bases.Open(ctx, dir) }
	if r.base, r.baseID, err = kept.model(dir, open); err != nil {
		return err
	}
	r.available = r.t.available()
	if r.modules, err = r.base.Modules(r.job.Config.LoRA); err != nil {
		return err
	}
	if err := r.base.FitBlock(&r.job.Config); err != nil {
		return err
	}
	r.dev, r.weights, err = kept.load(r.job.Config)
	return err
}

func (r *run) prepareData(ctx context.Context) (err error) {
	cfg := &r.job.Config
	cache := data.Cache{Dir: r.t.CacheDir, MaxBytes: r.t.CacheBytes}
	all, _, err := openSources(ctx, r.t.Files, r.job.TrainSources(), r.base, cfg, cache)
	if err != nil {
		return err
	}
	r.onClose(func() { all.Close() })
	r.train = all
	if r.job.ValData != nil {
		val, _, err := openData(ctx, r.t.Files, *r.job.ValData, r.base, cfg, cache)
		if err != nil {
			return base.Within(dataFields[1], err)
		}
		r.onClose(func() { val.Close() })
		r.val = val
	}
	var read readData
	if err := read.add(r.train, r.val, cfg); err != nil {
		return err
	}
	r.work = read.work
	if r.job.OtherData != nil {
		if err := r.openOther(ctx, cache); err != nil {
			return err
		}
	}
	var odd scu.Validation
	adviseOnData(&odd, read, cfg)
	r.dataWarnings = odd.Texts()
	if r.val == nil {
		if r.train, r.val, err = r.train.Split(cfg.ValFraction, cfg.Seed); err != nil {
			return err
		}
	}
	if len(r.job.Sources) > 0 {
		r.sources = base.ReportSources(r.job.Sources, r.train)
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

// trainSteps trains to the last step, from a checkpoint if there is one.
func (r *run) trainSteps(ctx context.Context, saved *checkpoint.State) error {
	cfg := r.job.Config
	work, err := estimate.Run{Spec: r.base.Spec, Types: r.base.Types(), Config: cfg, Work: r.work, Device: r.t.Device, Available: r.available, HostRefused: r.weights.HostRefused()}.Plan(r.dev.Activations(), r.modules)
	if err != nil {
		return err
	}
	work.Recompute = work.Recompute || r.job.SaveActivations
	r.keeps = !work.Recompute && cfg.GradientCheckpointing == nil
	first, err := r.firstWeights(ctx)
	if err != nil {
		return err
	}
	r.session, err = session.New(r.dev, r.weights, r.modules, first, session.Config{
		Control: cfg.Control, PriorSigma: cfg.PriorSigma, EpochTokens: r.train.EpochTokens(), MaxGradNorm: cfg.MaxGradNorm,
		LearningRate: cfg.LearningRate, Warmup: optim.Warmup(r.steps), Steps: r.steps, Seed: cfg.Seed, Dropout: cfg.LoRA.Dropout,
		Workspace: work, MicroBatches: cfg.GradientAccumulationSteps,
	})
	if err != nil {
		return err
	}
	r.release = sync.OnceFunc(r.session.Close)
	r.onClose(r.release)
	begin := 0
	if saved != nil {
		begin = saved.Step
		r.resume(saved)
		if saved.Open != nil {
			if err := r.finish(ctx, *saved.Open); err != nil {
				return err
			}
		} else {
			r.ending = r.stopped() && (r.last.ValLoss != nil || r.val.Blocks() == 0)
		}
		if !r.stored(begin) { // it was broken off between the step and its checkpoint
			if err := r.store(ctx, begin); err != nil {
				return err
			}
		}
	} else {
		r.csv.Write(scu.CSVFile.AppendHeader(nil))
		if r.losses.Before, err = r.validate(ctx); err != nil {
			return err
		}
		if r.losses.OtherBefore, err = r.otherLoss(ctx); err != nil {
			return err
		}
	}
	clock := newClock(r.tokens)
	pace := checkpoint.NewPace(cfg.CheckpointEvery, lora.Count(r.modules), time.Now())
	r.early = r.enough(begin)
	done, kept := begin, begin // steps, and those of the newest checkpoint
	for done < r.steps && r.early == "" {
		err := r.step(ctx, done, clock)
		if err == nil {
			done++
			err = r.store(ctx, done)
		}
		if err != nil {
			// What the weights have gone through is kept, be it a step more than is finished.
			if at := r.session.Optim.Steps; at > kept && (at == done || r.open != nil) {
				r.checkpoint(ctx, at)
			}
			return err
		}
		r.early = r.enough(done)
		if start := time.Now(); r.early == "" && done < r.steps && pace.Due(done, start) {
			if r.checkpoint(ctx, done) {
				kept = done
			}
			pace.Made(start, time.Now())
		}
	}
	if done > kept {
		r.end = r.snapshot(done)
	}
	return nil
}

// step makes one optimiser step and publishes its metrics.
func (r *run) step(ctx context.Context, step int, clock *clock) error {
	begin, before := time.Now(), r.tokens
	micros := r.next
	if micros == nil {
		var err error
		if micros, err = r.micros(step); err != nil {
			return err
		}
	}
	tokens := r.plan.Tokens(step) // before the plan turns to the next step, which may be in another epoch
	if r.next = nil; step+1 < r.steps {
		r.next, _ = r.micros(step + 1) // what is wrong with it is told when its turn comes
	}
	res, err := r.session.Step(ctx, micros, r.next)
	if err != nil {
		return err
	}
	done := step + 1
	r.tokens = tokens
	m := scu.Metrics{
		JobID: r.job.ID, Attempt: r.job.Attempt, Step: done, Steps: r.steps, Epoch: r.plan.Epoch(step),
		Loss: res.Loss, CE: res.CE, DataBPT: res.Bits.Data, ParamBPT: res.Bits.Param, TotalBPT: res.Bits.Data + res.Bits.Param,
		S: res.Bits.S, TargetS: r.job.Config.Control.TargetS, SHat: res.SHat, Lambda: res.Lambda, LambdaNext: res.LambdaNext, LearningRate: res.LR, GradNorm: res.GradNorm,
		Tokens: r.tokens, Timestamp: time.Now().UTC(),
	}
	if r.session.Control.AtBound() {
		m.LambdaMin, m.LambdaMax = &r.job.Config.Control.LambdaMin, &r.job.Config.Control.LambdaMax
		r.bound++
	} else {
		r.bound = 0
	}
	m.TokensPerSecond, m.ETAMinutes = clock.rate(r.tokens, done, r.steps)
	if err := r.finish(ctx, m); err != nil {
		return err
	}
	r.t.Monitor.stepped(r.tokens-before, time.Since(begin))
	return nil
}

// micros are a step's micro-batches.
func (r *run) micros(step int) ([]model.Batch, error) {
	batches, err := r.plan.Step(step)
	if err != nil {
		return nil, err
	}
	micros := make([]model.Batch, len(batches))
	for i, b := range batches {
		micros[i] = model.Batch(b)
	}
	return micros, nil
}

// finish validates after a step that moved the weights, if it is time to, and tells of it. A step
// that is broken off here is open: who goes on finishes it first.
func (r *run) finish(ctx context.Context, m scu.Metrics) (err error) {
	r.open = &m
	m.Attempt = r.job.Attempt
	told := m
	if r.ending = r.stopped(); r.ending || r.validated(m.Step) {
		if told.ValLoss, err = r.validate(ctx); err != nil {
			return err
		}
	}
	if err := r.t.Broker.PublishMetrics(ctx, r.t.Name, told); err != nil {
		return err
	}
	r.open, r.last = nil, told
	r.csv.Write(scu.CSVFile.Append(nil, &told))
	return r.judge(told)
}

// validate returns the mean loss over the validation blocks; nil if there are none.
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
