// Package store is the read model: jobs and their metrics in SQL, for lists and
// pages that the log can't answer. Nothing is written to it but what the log
// says, so it can be dropped and rebuilt by replay. The Projector moves entries
// from the log into a [Store]; store/sqlite and store/postgres are Stores, and
// store/storetest is the suite that both pass.
//
// It promises:
//
//   - Rows and positions change together, in one transaction: an entry is applied
//     exactly once whatever dies on the way, and one delivered twice changes
//     nothing.
//   - Of two projectors on one store only one moves it; the other gets [ErrFenced].
//   - The same log gives the same rows, in both stores. A job reads back equal to
//     the one projected, but for NUL characters in its texts, which become U+FFFD.
//     So do metrics, but for their time: it is kept to the microsecond, as are all
//     times in columns.
package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/shannon-control/scu"
)

// ErrFenced means that the store doesn't stand at Batch.From: another projector
// moved it, or an earlier Project succeeded though it seemed to fail. Go on from
// Position.
var ErrFenced = errors.New("the read model was moved by another projector")

// Store is the read model with the side that writes it. Its methods may be called
// from several goroutines.
type Store interface {
	scu.ReadModel

	// Project applies a batch in one transaction, or none of it. ErrFenced means that
	// the store doesn't stand where the batch begins; a batch that fails Check
	// is scu.CodeInvalid.
	Project(ctx context.Context, b scu.Batch) error
	// Reset empties the read model, a damaged one too: no jobs, no metrics, the zero
	// position.
	Reset(ctx context.Context) error
	Close() error
}

// Check returns why a batch can't be applied.
func Check(b scu.Batch) error {
	if !b.To.Reached(b.From) {
		return scu.Errorf(scu.CodeInvalid, "a batch from %+v to %+v goes back", b.From, b.To)
	}
	for _, e := range b.State {
		if err := checkEntry(e); err != nil {
			return err
		}
	}
	for _, e := range b.Metrics {
		if err := e.Metrics.Check(); err != nil {
			return err
		}
	}
	return nil
}

// checkEntry returns why an entry can't be in the read model.
func checkEntry(e scu.LogEntry) error {
	j := e.Event.Job
	if !scu.ValidJobID(j.ID) {
		return scu.Errorf(scu.CodeInvalid, "job id %.40q is not one", j.ID)
	}
	if !slices.Contains(scu.Statuses, j.Status) && j.Status != scu.Deleted {
		return scu.Errorf(scu.CodeInvalid, "job %s has the unknown status %.40q", j.ID, j.Status)
	}
	for _, t := range []*time.Time{&j.CreatedAt, j.StartedAt, j.CompletedAt} {
		if t != nil && !scu.Storable(*t) {
			return scu.Errorf(scu.CodeInvalid, "job %s has a time outside the years 1 to 9999", j.ID)
		}
	}
	return nil
}
