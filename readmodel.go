package scu

import (
	"context"
	"time"
)

// ReadModel answers for lists and pages, which the log can't. It follows the log at
// some milliseconds' distance. An id that isn't there is CodeNotFound; a database that
// can't be reached now is CodeUnavailable.
type ReadModel interface {
	// Ping writes, without a change, to see whether the database takes it.
	Ping(ctx context.Context) error
	// Check returns, as CodeDamaged, that rows are missing or can't be read.
	Check(ctx context.Context) error
	// Position returns how far the log has been applied.
	Position(ctx context.Context) (Position, error)
	// Job returns a job as its newest entry has it.
	Job(ctx context.Context, id string) (Job, Progress, error)
	// Jobs lists jobs, the newest first. An unknown status is CodeInvalid.
	Jobs(ctx context.Context, f JobFilter) ([]JobSummary, error)
	// Ahead counts the queued jobs of j's class that are handed out before j, which is
	// queued by the entry seq of the log; see [Due] for ageing.
	Ahead(ctx context.Context, j Job, seq uint64, ageing time.Duration) (Ahead, error)
	// UsersOf lists jobs that have not ended and read a file, an owner's or, for "",
	// anybody's, at most limit.
	UsersOf(ctx context.Context, owner, fileID string, limit int) ([]string, error)
	// Counts returns how many jobs have each status, an owner's or, for "", all; every
	// status has an entry.
	Counts(ctx context.Context, owner string) (map[Status]int, error)
	// WaitingOf counts an owner's jobs that wait: queued, scheduled or paused, as they are
	// after the entry at of the log.
	WaitingOf(ctx context.Context, owner string) (jobs int, at uint64, err error)
	// Waiting returns what waits in the queue, by class and priority, the highest first.
	Waiting(ctx context.Context) ([]Waiting, error)
	// Metrics returns a page of a job's steps in order, each as its newest attempt
	// had it, and whether there are more. A job without any has an empty page.
	Metrics(ctx context.Context, id string, p StepPage) (rows []Metrics, more bool, err error)
	// Curves hands over what is drawn of each of a job's steps, in order, each as its newest
	// attempt had it: of a long run it reads a third of the columns.
	Curves(ctx context.Context, id string, each func(CurvePoint)) error
	// Latest returns the newest step of the newest attempt.
	Latest(ctx context.Context, id string) (Metrics, error)
}

// Ahead counts the queued jobs of a class that are handed out before one of them.
type Ahead struct {
	HigherPriority int  // the owner's own of other priorities that are due first; see Due
	SamePriority   int  // the owner's own that were interrupted, and then those that came earlier
	OtherOwners    int  // of other owners, who have a turn for each of the owner's, at most
	More           bool // there may be more: not all were counted, see CountedAhead
}

// CountedAhead is the most jobs that Ahead counts of a priority, and about that of all other
// owners: whoever is that far back learns nothing from the exact number, and to count a queue
// of 100,000 takes as long as to read it.
const CountedAhead = 1000

// Jobs is how many that are.
func (a Ahead) Jobs() int { return a.HigherPriority + a.SamePriority + a.OtherOwners }

// Waiting is the jobs that wait in one level of the queue.
type Waiting struct {
	Class    string
	Priority int
	Jobs     int
	Oldest   time.Time // when the one that waits longest was submitted
}

// Progress is how far a job is. It belongs to the newest attempt that trained a step,
// so it falls back when an attempt starts over from a checkpoint.
type Progress struct {
	Step    int     // optimiser steps done
	Steps   int     // of the whole job; 0 while unknown
	Percent float64 // 0 to 100; 100 only if the job completed with all its steps
}

// ProgressOf returns the progress of a job with its newest metrics, nil if it has none.
func ProgressOf(j Job, newest *Metrics) Progress {
	p := Progress{Steps: j.Steps}
	if newest != nil {
		p.Step, p.Steps = newest.Step, max(newest.Steps, j.Steps)
	}
	switch {
	case j.Status == Completed && (j.Adapter == nil || j.Adapter.Metrics.EndedEarly == ""):
		p.Percent = 100
	case p.Steps > 0:
		p.Percent = min(99.9, 100*float64(p.Step)/float64(p.Steps)) // the adapter is still to come
	}
	return p
}

// JobSummary is a job and its progress.
type JobSummary struct {
	Job      Job
	Progress Progress
}

// Limits of a page. 0 means the default; more than the maximum means the maximum.
const (
	DefaultJobs  = 50
	MaxJobs      = 1000
	DefaultSteps = 1000
	MaxSteps     = 10_000
)

// JobFilter chooses what Jobs lists.
type JobFilter struct {
	Status    Status // empty: any
	Owner     string // only this owner's; empty: anybody's
	Search    string // only those whose name or base model contains it, or whose id begins with it; case of ASCII letters doesn't count
	GivenUp   bool   // only those that were given up after all their attempts
	ErrorCode Code   // only those whose error has this code; empty: any
	After     string // the last job of the page before; empty: from the newest
	Limit     int    // see DefaultJobs and MaxJobs
}

// StepPage chooses what Metrics returns.
type StepPage struct {
	AfterStep int   // steps above this one; 0: from the first
	Limit     int   // see DefaultSteps and MaxSteps
	Only      []int // of these steps alone, at most MaxSteps; nil: any
}

// CurvePoint is what is drawn of a step.
type CurvePoint struct {
	Step       int
	CE         float64
	ValLoss    *float64 // nil: it wasn't taken
	S, SHat    float64
	Lambda     float64
	LambdaNext float64
	LambdaHeld bool // it left lambda at a bound
}
