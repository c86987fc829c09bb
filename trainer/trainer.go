// Package trainer turns jobs into LoRA adapters: it pulls them from the broker,
// trains them, publishes every step's metrics, and stores the adapters.
//
// Its promises:
//
//   - A job's end is won in the log before it is acknowledged. A trainer that
//     dies, is cut off or is slow loses its claim, and anything it reports later is
//     refused; the job resumes from its last checkpoint.
//   - The same job, seed and device type give the same adapter, byte for byte,
//     interrupted or not.
//   - Cancelling takes effect between two layers of a model: well below a second
//     for anything that trains at a useful speed.
package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/telemetry"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/estimate"
)

// Broker is what a trainer needs of the rest of the service: a broker.Agent, or, with a
// login that may do all of it, a broker.Broker.
type Broker interface {
	scu.Attempts
	scu.WorkQueue

	// Of scu.MetricsStream, scu.Adapters and scu.Roster:
	PublishMetrics(ctx context.Context, trainer string, m scu.Metrics) error
	FlushMetrics(ctx context.Context) error
	PutAdapter(ctx context.Context, key scu.AdapterKey, zip io.Reader) (size int64, sum string, err error)
	DeleteAdapter(ctx context.Context, key scu.AdapterKey) error
	Announce(ctx context.Context, p scu.Presence) error
}

// Config sets a trainer.
type Config struct {
	// Name identifies the trainer: letters, digits, - and _. Two trainers of one name
	// would receive each other's cancels.
	Name string
	// Classes of jobs that it takes, preferred first. Default: what Device can hold.
	Classes []string
	// Broker is where jobs come from and results go.
	Broker Broker
	// Files holds the jobs' data.
	Files scu.LocalFiles
	// Bases finds base models.
	Bases *base.Finder
	// Device is what jobs are computed on. One stays open from job to job, as long as
	// they ask for the same precision.
	Device devices.Kind
	// CacheDir keeps tokenised data, and with TuneGPU what a device measured of itself. It
	// may be deleted at any time.
	CacheDir string
	// CacheBytes bounds CacheDir; the least recently used goes first. 0: no bound.
	CacheBytes int64
	// TuneGPU lets a GPU time the ways to make each size of product, once, and keep the
	// fastest in CacheDir. Without it every machine makes products the same way, and the
	// same job gives the same bytes on all of them; with it, on those that share the file.
	TuneGPU bool
	// CheckpointDir keeps running jobs' checkpoints. Trainers that share it resume each
	// other's jobs; otherwise a job that is taken over starts again, with the same
	// result.
	CheckpointDir string
	// Checkpoints also keeps them for trainers that don't share the folder. Default: nobody
	// does.
	Checkpoints scu.Blobs
	// Room returns why so many bytes more can't be stored where adapters and Checkpoints are, as
	// CodeStorage: what is left of the disk is for the log. A job that has only its adapter to store
	// waits then. Default: always nil.
	Room func(bytes int64) error
	// CheckpointRoom is Room of CheckpointDir: checkpoints are passed over then.
	CheckpointRoom func(bytes int64) error
	// Log receives messages for operators. Default slog.Default().
	Log *slog.Logger
	// Monitor counts for Prometheus. Default: nobody counts.
	Monitor *Monitor
	// Version is shown in the list of trainers.
	Version string
}

// Trainer runs one job at a time.
type Trainer struct {
	Config
	started   time.Time
	retryWait time.Duration // firstRetry; tests shorten it
	memory    func() int64  // Config.available; tests replace it
	resident  resident
	health    health
}

// New checks the configuration and makes a trainer.
func New(c Config) (*Trainer, error) {
	if len(c.Classes) == 0 {
		c.Classes = classes(c.Device)
	}
	for _, room := range []*func(int64) error{&c.Room, &c.CheckpointRoom} {
		if *room == nil {
			*room = func(int64) error { return nil }
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if !scu.ValidTrainer(c.Name) {
		return nil, scu.Errorf(scu.CodeInvalid, "trainer name %q: only letters, digits, - and _ are allowed", c.Name)
	}
	for _, dir := range []string{c.CacheDir, c.CheckpointDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "the trainer's folder: %w", err)
		}
	}
	return &Trainer{Config: c, started: time.Now(), retryWait: firstRetry, health: health{reported: make(chan struct{}, 1)}, memory: c.available, resident: resident{kind: c.Device, cache: c.tuned()}}, nil
}

// tuned is the folder for what a device measures of itself; "" if it isn't to.
func (c Config) tuned() string {
	if !c.TuneGPU {
		return ""
	}
	return c.CacheDir
}

// available is the memory of the device that a job may take now.
func (c Config) available() int64 {
	free, _ := c.Device.Available()
	return free
}

// Run takes and trains jobs until ctx ends. A job that is running then is checkpointed
// and handed back before Run returns.
func (t *Trainer) Run(ctx context.Context) error {
	queue, err := t.Broker.Queue(ctx, t.Name, t.Classes)
	if err != nil {
		return err
	}
	defer queue.Close()
	defer t.resident.close()
	present := t.announce(ctx)
	t.sweep(ctx)
	go t.watch(ctx)
	for {
		claim, err := queue.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		present(claim.Job().ID)
		t.serve(ctx, claim)
		t.sweep(ctx)
		present("")
		t.recover(ctx, func() { present("") })
		debug.FreeOSMemory() // an idle trainer keeps the base model but nothing of the job
	}
}

// announce tells the broker every few seconds that this trainer is alive, until ctx
// ends; the returned function announces at once which job it runs.
func (t *Trainer) announce(ctx context.Context) func(jobID string) {
	jobs := make(chan string, 1) // a slow announcement doesn't hold up a job
	go func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		p := scu.Presence{Trainer: t.Name, Classes: t.Classes, Devices: []string{t.Device.Description}, Version: t.Version, Since: t.started}
		for {
			if p.Job == "" { // memory as it is between jobs
				p.Memory = t.available()
			}
			p.Classes, p.Problem, p.GPU = t.Classes, t.health.problem(), t.figures()
			if p.Problem != "" {
				p.Classes, p.Memory = nil, 0
			}
			if err := t.Broker.Announce(ctx, p); err != nil && ctx.Err() == nil {
				t.Log.Warn("can't announce this trainer", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case p.Job = <-jobs:
			case <-t.health.reported:
			case <-tick.C:
			}
		}
	}()
	return func(jobID string) {
		select {
		case jobs <- jobID:
		case <-ctx.Done():
		}
	}
}

// available is the memory that a job can have, in bytes, including what a loaded base
// model holds; 0 if it isn't known.
func (t *Trainer) available() int64 {
	if n := t.memory(); n > 0 {
		return estimate.Within(t.Device.Most, n+t.resident.held())
	}
	return 0
}

// endTime bounds the reporting on a job after its run, also while the trainer stops.
const endTime = 30 * time.Second

// serve runs one claimed job to its end, or gives it back.
func (t *Trainer) serve(ctx context.Context, claim scu.Claim) {
	log := t.Log.With("job", claim.Job().ID)
	job, err := t.say(ctx, claim.Job().ID, scu.Word{Type: scu.EventStarted})
	if err != nil {
		t.drop(claim, err, log)
		return
	}
	log = log.With("attempt", job.Attempt)
	log.Info("job started", "base_model", job.BaseModel)
	started := time.Now()
	end := endOver
	ended := t.Monitor.started(job, started)
	defer func() { ended(end) }()
	took := func() time.Duration { return time.Since(started).Round(time.Millisecond) }

	held, release := claim.Hold(ctx, job.Attempt)
	var out scu.Adapter
	var keeps bool
	err = telemetry.Span(telemetry.Under(held, job.Trace), "attempt", func(ctx context.Context) (err error) {
		out, keeps, err = t.train(ctx, job, claim.Stopping())
		return err
	}, attribute.String("scu.job", job.ID), attribute.Int("scu.attempt", job.Attempt), attribute.String("scu.trainer", t.Name))
	lost := context.Cause(held)
	release()

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	handBack := func(delay time.Duration, w scu.Word) bool {
		w.Type, w.Attempt = scu.EventHandedBack, job.Attempt
		if _, err = t.say(last, job.ID, w); err != nil {
			return false
		}
		end = endHandedBack
		if err := claim.Nak(delay); err != nil {
			log.Warn("job not given back to the queue; it is handed out again when the claim ends", "error", err)
		}
		return true
	}
	switch {
	case err == nil:
		var now scu.Job
		now, err = t.say(last, job.ID, scu.Word{Type: scu.EventCompleted, Attempt: job.Attempt, Adapter: &out})
		if scu.CodeOf(err) == scu.CodeConflict && (now.Status != scu.Completed || now.Attempt != job.Attempt) {
			t.discard(last, job)
		}
		if err == nil {
			end = endCompleted
			log.Info("job completed", append(figures(out.Metrics), "took", took())...)
		}
	case ctx.Err() != nil:
		log.Info("job handed back: this trainer stops", "took", took())
		if handBack(0, scu.Word{}) {
			return
		}
	case isOver(lost):
		log.Info("job stopped", "why", lost, "took", took())
		err = lost
	case isOver(err): // read from the log before the notice arrived
		log.Info("job stopped", "why", err, "took", took())
	case scu.CodeOf(err) == scu.CodeUnavailable, scu.CodeOf(err) == scu.CodeStorage: // another time, or another trainer
		log.Warn("job handed back", "error", err)
		if handBack(retryAfter(t.retryWait, job.Attempt), scu.Word{Warnings: []string{fmt.Sprintf("handed back and will be retried: %v", err)}}) {
			return
		}
	case scu.CodeOf(err) == scu.CodeMemory && keeps && !job.SaveActivations:
		log.Warn("out of memory: tried once more with activations computed again", "error", err)
		if handBack(0, scu.Word{Error: scu.AsError(err)}) {
			return
		}
	default:
		e := scu.AsError(err)
		log.Error("job failed", "code", e.Code, "error", err, "took", took())
		_, err = t.say(last, job.ID, scu.Word{Type: scu.EventFailed, Attempt: job.Attempt, Error: e})
		if err == nil {
			end = endFailed
		}
	}
	t.drop(claim, err, log)
}

// figures are what the log tells of a completed job.
func figures(s scu.Summary) []any {
	out := []any{"steps", s.Steps, "ce", s.CE, "s", s.S, "target_s", s.TargetS}
	if s.ValLossBefore != nil && s.ValLossAfter != nil {
		out = append(out, "val_loss_before", *s.ValLossBefore, "val_loss", *s.ValLossAfter)
	}
	return out
}

// isOver reports whether an error means that the attempt no longer belongs to this
// trainer.
func isOver(err error) bool {
	code := scu.CodeOf(err)
	return code == scu.CodeCancelled || code == scu.CodeConflict
}

// A job stopped by something unavailable waits for firstRetry, then twice as long each
// time, up to lastRetry. It is retried until somebody cancels it.
const (
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
)

// retryAfter is how long a job waits after an attempt, counted from 1.
func retryAfter(first time.Duration, attempt int) time.Duration {
	return min(first<<min(attempt-1, 16), lastRetry)
}

// discard removes an adapter that an attempt stored and that won't be its job's.
func (t *Trainer) discard(ctx context.Context, job scu.Job) {
	t.remove(ctx, job.AdapterKey())
}

// remove deletes a stored zip that nothing refers to.
func (t *Trainer) remove(ctx context.Context, key scu.AdapterKey) {
	if err := t.Broker.DeleteAdapter(ctx, key); err != nil {
		t.Log.Warn("a zip that no job has stays in the store", "job", key.Job, "attempt", key.Attempt, "step", key.Step, "error", err)
	}
}

// keepFailed is how long the checkpoints of a failed job stay: what it has learned isn't
// lost if what failed it is mended.
const keepFailed = 7 * 24 * time.Hour

// spent reports whether the checkpoints of a job are of no more use.
func spent(j scu.Job, now time.Time) bool {
	if j.Status == scu.Failed && j.CompletedAt != nil {
		return now.Sub(*j.CompletedAt) > keepFailed
	}
	return j.Status.Ended()
}

// sweep removes the checkpoints of jobs that have ended or were deleted, here or elsewhere.
func (t *Trainer) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	entries, err := os.ReadDir(t.CheckpointDir)
	for _, e := range entries {
		if !scu.ValidJobID(e.Name()) {
			continue
		}
		job, failed := t.Broker.Fate(ctx, e.Name(), t.Name)
		if scu.CodeOf(failed) == scu.CodeNotFound {
			continue // another service's
		}
		if failed == nil && spent(job, time.Now()) {
			if shared, ok := t.shared(); ok {
				failed = shared.Remove(ctx, e.Name())
			}
			if failed == nil { // last: the folder says that there are some
				failed = checkpoint.Remove(t.checkpoints(e.Name()))
			}
		}
		if failed != nil {
			err = failed
			break
		}
	}
	if err != nil {
		t.Log.Warn("checkpoints of ended jobs may stay", "folder", t.CheckpointDir, "error", err)
	}
}

// drop removes a claim from the queue if the log shows that its job has ended or is
// paused; a job that now belongs to another trainer stays.
func (t *Trainer) drop(claim scu.Claim, err error, log *slog.Logger) {
	if err != nil && !isOver(err) && scu.CodeOf(err) != scu.CodeNotFound {
		log.Error("the job's state can't be written; it is handed out again when the claim ends", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	if job, e := t.Broker.Fate(ctx, claim.Job().ID, t.Name); e == nil && job.Status.InQueue() {
		log.Warn("the job is another's", "trainer", job.Trainer, "error", err)
		return
	}
	if err := claim.Ack(); err != nil {
		log.Warn("job not acknowledged; it is handed out again and dropped then", "error", err)
	}
}

// say reports on a job.
func (t *Trainer) say(ctx context.Context, id string, w scu.Word) (scu.Job, error) {
	return t.Broker.Say(ctx, id, t.Name, w)
}

// train is one attempt at a job: everything between Started and its end. After an
// error only metrics and checkpoints of it are stored. keeps reports whether it kept
// activations that a next attempt may compute again.
func (t *Trainer) train(ctx context.Context, job scu.Job, stopping <-chan struct{}) (_ scu.Adapter, keeps bool, err error) {
	r := &run{t: t, job: job, stopping: stopping}
	err = t.judge(r.guarded(ctx))
	t.resident.settle(err, t.memory())
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if e := t.Broker.FlushMetrics(flush); err == nil && e != nil {
		err = e
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		t.Log.Debug("error while stopping", "job", job.ID, "error", err)
	}
	if err != nil && r.adapter.Size > 0 {
		t.discard(flush, job)
	}
	return r.adapter, r.keeps, err
}

// guarded is do with panics turned into errors, so that they fail the job instead of
// the process, which may have other roles.
func (r *run) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.t.Log.Error("panic in a job", "job", r.job.ID, "panic", p, "stack", string(debug.Stack()))
			err = scu.Errorf(scu.CodeInternal, "a bug in the trainer: %v", p).WithHint("its log has the stack; please report it")
		}
	}()
	defer r.close()
	return r.do(ctx)
}
