// Package store is the read model: jobs and their metrics in SQL, for lists and
// pages that the log can't answer. Nothing is written to it but what the log
// says, so it can be dropped and rebuilt by replay. The Projector moves entries
// from the log into a Store; store/sqlite and store/postgres are Stores, and
// store/storetest is the suite that both pass.
//
// It promises:
//
//   - Rows and positions change together, in one transaction: an entry is applied
//     exactly once whatever dies on the way, and one delivered twice changes
//     nothing.
//   - Of two projectors on one store only one moves it; the other gets ErrFenced.
//   - The same log gives the same rows, in both stores. A job reads back equal to
//     the one projected, but for NUL characters in its texts, which become U+FFFD.
//     So do metrics, but for their time: it is kept to the microsecond, as are all
//     times in columns.
package store

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/shannon-control/scu"
)

// ErrFenced says that the store doesn't stand at Batch.From: another projector
// moved it, or an earlier Project succeeded though it seemed to fail. Go on from
// Positions.
var ErrFenced = errors.New("the read model was moved by another projector")

// Store is the read model. Its methods may be called from several goroutines.
// An id that isn't there is scu.CodeNotFound; a database that can't be reached
// now is scu.CodeUnavailable, and the same call may succeed later.
type Store interface {
	// Project applies a batch in one transaction, or none of it. ErrFenced says
	// that the store doesn't stand where the batch begins; a batch that fails Check
	// is scu.CodeInvalid.
	Project(ctx context.Context, b Batch) error
	// Positions says up to where the log has been applied.
	Positions(ctx context.Context) (Positions, error)
	// Reset empties the read model: no jobs, no metrics, both positions 0.
	Reset(ctx context.Context) error

	// Job returns a job as its newest entry has it.
	Job(ctx context.Context, id string) (scu.Job, Progress, error)
	// Jobs lists jobs, the newest first. A status that is none is scu.CodeInvalid.
	Jobs(ctx context.Context, f Filter) ([]JobSummary, error)
	// Counts says how many jobs have each status; every status has an entry.
	Counts(ctx context.Context) (map[scu.Status]int, error)
	// Metrics returns a page of a job's steps in order, each as its newest attempt
	// had it, and whether there are more. A job without any has an empty page.
	Metrics(ctx context.Context, id string, p Page) (rows []scu.Metrics, more bool, err error)
	// Latest returns the newest step of the newest attempt.
	Latest(ctx context.Context, id string) (scu.Metrics, error)

	Close() error
}

// Positions are stream sequences: everything up to them, inclusive, is applied.
type Positions struct {
	State   uint64 // of the log of state events
	Metrics uint64 // of the metrics
}

// reached says that p is nowhere before to.
func (p Positions) reached(to Positions) bool { return p.State >= to.State && p.Metrics >= to.Metrics }

// Batch takes the store from one pair of positions to another. To may go past
// the entries, over those that were skipped.
type Batch struct {
	From, To Positions
	State    []StateEntry   // in the order of the log
	Metrics  []MetricsEntry // in any order

	Unreadable int // entries that the source left out; for the projector's count
}

// StateEntry is an entry of the log of state events.
type StateEntry struct {
	Seq   uint64
	Event scu.Event
}

// MetricsEntry is an entry of the metrics stream.
type MetricsEntry struct {
	Seq     uint64
	Metrics scu.Metrics
}

// Progress says how far a job is. It is of the newest attempt that trained a
// step, so it falls back when an attempt starts over from a checkpoint.
type Progress struct {
	Step    int     // optimiser steps done
	Steps   int     // of the whole job; 0 while unknown
	Percent float64 // 0 to 100; 100 only when the job is completed
}

// ProgressOf is the progress of a job with its newest metrics, nil if it has
// none.
func ProgressOf(j scu.Job, newest *scu.Metrics) Progress {
	p := Progress{Steps: j.Steps}
	if newest != nil {
		p.Step, p.Steps = newest.Step+1, max(newest.Steps, j.Steps)
	}
	switch {
	case j.Status == scu.Completed:
		p.Percent = 100
	case p.Steps > 0:
		p.Percent = min(99.9, 100*float64(p.Step)/float64(p.Steps)) // the adapter is still to come
	}
	return p
}

// JobSummary is a job and how far it is.
type JobSummary struct {
	Job      scu.Job
	Progress Progress
}

// Limits of a page; 0 means the default and more than the maximum the maximum.
const (
	DefaultJobs    = 50
	MaxJobs        = 1000
	DefaultMetrics = 1000
	MaxMetrics     = 10_000
)

// Filter chooses what Jobs lists.
type Filter struct {
	Status scu.Status // empty: any
	After  string     // the last job of the page before; empty: from the newest
	Limit  int        // see DefaultJobs and MaxJobs
}

// Page chooses what Metrics returns.
type Page struct {
	AfterStep int // steps above this one; -1: from the first
	Limit     int // see DefaultMetrics and MaxMetrics
}

// Check says why a batch can't be applied.
func (b Batch) Check() error {
	if !b.To.reached(b.From) {
		return scu.Errorf(scu.CodeInvalid, "a batch from %+v to %+v goes back", b.From, b.To)
	}
	for _, e := range b.State {
		if err := e.Check(); err != nil {
			return err
		}
	}
	for _, e := range b.Metrics {
		if err := e.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Check says why an entry can't be in the read model.
func (e StateEntry) Check() error {
	j := e.Event.Job
	if !scu.ValidJobID(j.ID) {
		return scu.Errorf(scu.CodeInvalid, "job id %.40q is not one", j.ID)
	}
	if !slices.Contains(scu.Statuses, j.Status) {
		return scu.Errorf(scu.CodeInvalid, "job %s has the unknown status %.40q", j.ID, j.Status)
	}
	for _, t := range []*time.Time{&j.CreatedAt, j.StartedAt, j.CompletedAt} {
		if t != nil && !storable(*t) {
			return scu.Errorf(scu.CodeInvalid, "job %s has a time outside the years 1 to 9999", j.ID)
		}
	}
	return nil
}

// Check says why an entry can't be in the read model.
func (e MetricsEntry) Check() error {
	m := &e.Metrics
	if !scu.ValidJobID(m.JobID) {
		return scu.Errorf(scu.CodeInvalid, "job id %.40q is not one", m.JobID)
	}
	if m.Attempt < 0 || m.Step < 0 || m.Steps < 0 {
		return scu.Errorf(scu.CodeInvalid, "metrics of job %s have a negative attempt, step or number of steps", m.JobID)
	}
	figures := [15]float64{m.Epoch, m.Loss, m.CE, m.DataBPT, m.ParamBPT, m.TotalBPT, m.S, m.SHat, m.Lambda,
		m.LambdaNext, m.LearningRate, m.GradNorm, m.TokensPerSecond, m.ETAMinutes}
	if m.ValLoss != nil {
		figures[14] = *m.ValLoss
	}
	for _, x := range figures {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return scu.Errorf(scu.CodeInvalid, "metrics of job %s, step %d, have a figure that is not finite", m.JobID, m.Step)
		}
	}
	if !storable(m.Timestamp) {
		return scu.Errorf(scu.CodeInvalid, "metrics of job %s, step %d, have a time outside the years 1 to 9999", m.JobID, m.Step)
	}
	return nil
}

func storable(t time.Time) bool { y := t.UTC().Year(); return y >= 1 && y <= 9999 }
