package scu

import (
	"context"
	"errors"
)

// Log is the log of state events, the source of truth. Every change of a job is one
// compare-and-set append: of two rivals exactly one wins. An id of no job is
// CodeNotFound; a log that can't be reached now is CodeUnavailable.
type Log interface {
	Feed

	// Submit appends a job's first entry (see [Submission]) and returns its sequence.
	// From then on the job is known and queued. The same submission again, byte for
	// byte, succeeds again; another job under a used id is CodeConflict.
	Submit(ctx context.Context, e Event) (seq uint64, err error)
	// SubmitAll appends the first entries of 1 to MaxBatch jobs: all of them or none. If
	// one of the ids is used it is CodeConflict.
	SubmitAll(ctx context.Context, all []Event) error
	// CheckSize refuses, with CodeTooLarge, a submission that the log has no room for.
	CheckSize(e Event) error
	// Append takes a job on: it reads the job, asks transition for the next entry and
	// appends it, provided that nothing came between; otherwise it starts over, and
	// transition may refuse the newer state. Its error is returned as it is, with the
	// job as it stands. who is [APIWriter] or the trainer's name.
	Append(ctx context.Context, id, who string, transition func(Job) (Event, error)) (j Job, seq uint64, err error)
	// First returns a job's first entry, its submission, whatever became of it.
	First(ctx context.Context, id string) (Event, error)
	// Job returns a job as its newest entry has it, and that entry's sequence.
	Job(ctx context.Context, id string) (j Job, seq uint64, err error)
	// Cancel ends a job at a user's request. A job that is cancelled already is
	// success again; one that ended otherwise is CodeConflict.
	Cancel(ctx context.Context, id string) (j Job, already bool, err error)
	// Stop asks a running job to end now and to keep what it has learned. A job that
	// was asked before is success again; one that doesn't run is CodeConflict.
	Stop(ctx context.Context, id string) (j Job, already bool, err error)
	// Pause takes a job out of the queue, and from its trainer, until it is resumed. One
	// that is paused is success again.
	Pause(ctx context.Context, id string) (j Job, already bool, err error)
	// Resume queues a paused job again, or a scheduled one. One that is queued or runs is
	// success again.
	Resume(ctx context.Context, id string) (j Job, already bool, err error)
	// Retry queues a job again that failed or was cancelled; see [Job.Retry].
	Retry(ctx context.Context, id string, fromStart bool) (Job, error)
	// Delete removes a job that has ended, with what it stored: it is CodeNotFound from
	// then on. A job that has not ended is CodeConflict.
	Delete(ctx context.Context, id string) error
	// JobEntries returns a job's entries up to a sequence that it has, in order. One that
	// can't be read has no job.
	JobEntries(ctx context.Context, id string, end uint64) ([]LogEntry, error)
	// FollowJob gives a job's entries after a sequence, 0 for all, then those that come, in
	// order and each once. The channel closes when ctx ends, or the log is replaced by another.
	FollowJob(ctx context.Context, id string, after uint64) (<-chan LogEntry, error)
}

// MaxBatch is how many jobs can be submitted at once.
const MaxBatch = 1000

// Feed is the log and the metrics of all jobs, as readers follow them.
type Feed interface {
	// Follow calls apply with every entry after a position, each stream in its order,
	// then with new ones as they come, until ctx ends or apply fails, and returns why.
	// The batches join up: each begins where the last one ended. A position past the
	// end of the streams, or of other streams, is [ErrOtherLog].
	Follow(ctx context.Context, after Position, apply func(Batch) error) error
	// End returns the position of the newest entries.
	End(ctx context.Context) (Position, error)
}

// ErrOtherLog is the cause of an error of Follow: the position is of other streams, or
// past the end of these, which lost it then.
var ErrOtherLog = errors.New("the position is not one of this log")

// Position is a place in the two streams: everything up to these sequences,
// inclusive, is dealt with. The zero Position is the beginning.
type Position struct {
	State   uint64 // in the log of state events
	Metrics uint64 // in the metrics
	Log     string // identity of the streams, made when they were; "" is any
}

// Reached reports whether p is at or past to in both streams.
func (p Position) Reached(to Position) bool { return p.State >= to.State && p.Metrics >= to.Metrics }

// LogEntry is one entry of the log of state events.
type LogEntry struct {
	Seq   uint64 // from 1
	Event Event
}

// MetricsEntry is one step's metrics in their stream. A step may come twice: its key
// is (job, attempt, step).
type MetricsEntry struct {
	Seq     uint64 // from 1
	Metrics Metrics
}

// Batch takes a reader from one position to another. Between the streams there is no
// order: metrics may come before the entry that started their attempt.
type Batch struct {
	From, To Position
	State    []LogEntry
	Metrics  []MetricsEntry

	Unreadable int // entries left out because they can't be read; each is logged
}
