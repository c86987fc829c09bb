package scu

import (
	"context"
	"time"
)

// WorkQueue holds the jobs that wait for a trainer. It is derived from the [Log].
type WorkQueue interface {
	// Queue opens the queue for a trainer. classes are the resource classes that it
	// can run, preferred first.
	Queue(ctx context.Context, trainer string, classes []string) (Queue, error)
}

// Queue hands one trainer the jobs of its classes. Owners take turns; of an owner's jobs
// the highest priority comes first, which rises with waiting (see [Due]), within
// a priority the earlier class of its list, within a class the oldest job. Classes of
// one family, as of GPUs of several sizes, take turns. No more jobs of an owner run than
// [Halts.MaxRunning].
type Queue interface {
	// Next waits for a job and claims it; it gives up only when ctx ends. The job was
	// not ended when it was read. The trainer appends [Job.Start] before it does
	// anything, and drops the claim (Ack) if that is refused.
	Next(ctx context.Context) (Claim, error)
	// Close ends the queue. Claims keep their state.
	Close()
}

// Claim is a job that a trainer may run until it acknowledges or returns it, or gives
// no sign of life for the claim time.
type Claim interface {
	// Job is the job as the log had it when it was claimed.
	Job() Job
	// Hold keeps the claim alive while attempt runs, and watches over it. The returned
	// context ends with ctx, with release, or when the attempt may not go on; its cause
	// is then an [Error]: CodeCancelled, or CodeConflict if the job ended otherwise or
	// is another trainer's.
	Hold(ctx context.Context, attempt int) (held context.Context, release context.CancelFunc)
	// Stopping is closed once Hold has seen that the job is to end now, with what it
	// has learned.
	Stopping() <-chan struct{}
	// Ack takes the job out of the queue. Only a trainer that won the job's end in the
	// log, or saw there that it has ended, may do so.
	Ack() error
	// Nak returns the job to the queue, for any trainer after the delay.
	Nak(delay time.Duration) error
}
