package trainer

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// validated reports whether the run validates after so many steps.
func (r *run) validated(done int) bool {
	return done == r.steps || done%r.job.Config.EvalSteps(r.steps) == 0
}

// store keeps the adapter as it is after a validated step as a checkpoint of the job,
// and removes those that it pushes out. A zip that can't be stored now is told of and
// costs the job nothing.
func (r *run) store(ctx context.Context, step int) error {
	if r.job.Config.KeepCheckpoints == 0 || !r.validated(step) {
		return nil
	}
	param, err := r.session.Params()
	if err != nil {
		return err
	}
	summary := r.summary(len(param), step, r.last.S, r.last.ValLoss)
	files, err := r.artifacts(param, summary, "This is a checkpoint: the run had not ended.")
	if err != nil {
		return err
	}
	key := scu.AdapterKey{Job: r.job.ID, Attempt: r.job.Attempt, Step: step}
	size, sum, err := r.put(ctx, key, files)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.t.Log.Warn("checkpoint not stored", "job", r.job.ID, "step", step, "error", err)
		if scu.CodeOf(err) != scu.CodeUnavailable { // then the log is likely to be as well, and its answer would be waited for
			r.unstored(ctx, step, err)
		}
		return nil
	}
	c := scu.Checkpoint{Step: step, Attempt: r.job.Attempt, ValLoss: r.last.ValLoss, CE: r.last.CE, S: r.last.S, Size: size, SHA256: sum, CreatedAt: time.Now().UTC()}
	before := append(slices.Clone(r.job.Checkpoints), c)
	job, err := r.t.say(ctx, r.job.ID, scu.Word{Type: scu.EventCheckpoint, Attempt: r.job.Attempt, Checkpoint: &c})
	if err != nil {
		full := scu.CodeOf(err) == scu.CodeStorage          // the log keeps its room for the job's end
		if isOver(err) || full && !scu.AsError(err).Retry { // else the log may have it, its answer lost
			r.t.remove(context.WithoutCancel(ctx), key)
		}
		if !full {
			return err
		}
		r.t.Log.Warn("checkpoint not kept", "job", r.job.ID, "step", step, "error", err)
		return nil
	}
	r.job.Checkpoints = job.Checkpoints
	for _, old := range before {
		if !slices.ContainsFunc(job.Checkpoints, func(c scu.Checkpoint) bool { return c.Step == old.Step && c.Attempt == old.Attempt }) {
			r.t.remove(ctx, old.Key(r.job.ID))
		}
	}
	return nil
}

// Warnings of a job that no room was found for begin so; what follows differs each time.
const (
	lostCheckpoint = "a checkpoint could not be stored; training goes on: "
	awaitsRoom     = "the adapter is trained and kept by its trainer, which stores it as soon as there is room: "
)

// told reports whether an attempt before this one gave the job a warning that begins so.
func (r *run) told(beginning string) bool {
	return slices.ContainsFunc(r.job.Warnings, func(w string) bool { return strings.HasPrefix(w, beginning) })
}

// unstored warns the job's user, once in a job, of a checkpoint that could not be stored.
func (r *run) unstored(ctx context.Context, step int, why error) {
	if r.warned || r.told(lostCheckpoint) || r.end != nil || ctx.Err() != nil { // after the last step it is told what the adapter waits for
		return
	}
	r.warned = true
	warning := fmt.Sprintf("%sstep %d: %v", lostCheckpoint, step, why)
	if err := r.begin(ctx, scu.Training, []string{warning}); err != nil {
		r.t.Log.Warn("the job's user isn't told of a checkpoint that is not stored", "job", r.job.ID, "error", err)
	}
}

// putAdapter stores the zip of the job's adapter. While there is no room for it the run keeps it, tells
// its user so, and tries again, as long as the attempt lasts: what is trained isn't trained again.
func (r *run) putAdapter(ctx context.Context, files []artifact) (size int64, sum string, err error) {
	told := r.told(awaitsRoom)
	for try := 1; ; try++ {
		size, sum, err = r.put(ctx, r.job.AdapterKey(), files)
		if scu.CodeOf(err) != scu.CodeStorage || ctx.Err() != nil {
			return size, sum, err
		}
		wait := retryAfter(r.t.retryWait, try)
		r.t.Log.Warn("no room for an adapter; it is tried again", "job", r.job.ID, "after", wait, "error", err)
		r.keepEnd(ctx) // if this process dies
		if !told {
			warning := fmt.Sprintf("%s%v", awaitsRoom, err)
			told = r.begin(ctx, scu.SavingAdapter, []string{warning}) == nil
		}
		if err := scu.Sleep(ctx, wait); err != nil {
			return 0, "", err
		}
	}
}

// stored reports whether the job has a checkpoint of a step.
func (r *run) stored(step int) bool {
	return slices.ContainsFunc(r.job.Checkpoints, func(c scu.Checkpoint) bool { return c.Step == step })
}

// putTries bounds how often a zip is sent while who takes it in breaks off.
const putTries = 3

// put stores the zip of an adapter's files.
func (r *run) put(ctx context.Context, key scu.AdapterKey, files []artifact) (size int64, sum string, err error) {
	var bytes int64
	for _, f := range files {
		bytes += int64(len(f.data))
	}
	if err := r.t.Room(bytes); err != nil {
		return 0, "", err
	}
	for range putTries {
		zip, w := io.Pipe()
		go func() { w.CloseWithError(zipped(w, files)) }()
		size, sum, err = r.t.Broker.PutAdapter(ctx, key, zip)
		zip.Close() // the writer ends also if not all of it was read
		if scu.CodeOf(err) != scu.CodeUnavailable || ctx.Err() != nil {
			break
		}
	}
	return size, sum, err
}
