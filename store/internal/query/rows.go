package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
)

// MetricColumns are the names of the metrics table's columns.
var MetricColumns = func() (names []string) {
	for _, c := range scu.MetricColumns {
		names = append(names, c.Name)
	}
	return names
}()

// MetricValues appends a row of the metrics table to dst. timestamp puts a time into the
// form of the database.
func MetricValues(dst []any, m *scu.Metrics, timestamp func(time.Time) any) []any {
	for _, c := range scu.MetricColumns {
		var value any
		switch x := c.Of(m).(type) {
		case *string:
			value = *x
		case *int:
			value = *x
		case *int64:
			value = *x
		case *float64:
			value = *x
		case **float64:
			value = *x
		case *time.Time:
			value = timestamp(*x)
		}
		dst = append(dst, value)
	}
	return dst
}

func scanMetrics(scan Scan) (m scu.Metrics, err error) {
	row := make([]any, len(scu.MetricColumns))
	for i, c := range scu.MetricColumns {
		row[i] = c.Of(&m)
		if t, ok := row[i].(*time.Time); ok {
			row[i] = (*timeColumn)(t)
		}
	}
	err = scan(row...)
	return m, err
}

// JobRow is what InsertJobs writes of an entry.
type JobRow struct {
	ID                     string
	Seq                    int64
	CreatedAt              time.Time
	StartedAt, CompletedAt *time.Time
	Queued                 int64 // milliseconds of Unix time
	Document               string
}

// JobRows are the rows of the newest entry of each job.
func JobRows(entries []scu.LogEntry) ([]JobRow, error) {
	newest := NewestJobs(entries)
	rows := make([]JobRow, len(newest))
	for i, e := range newest {
		j := &e.Event.Job
		document, err := json.Marshal(j)
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "job %s has no JSON form: %w", j.ID, err)
		}
		rows[i] = JobRow{j.ID, int64(e.Seq), j.CreatedAt, j.StartedAt, j.CompletedAt, queuedAt(&e.Event).UnixMilli(), string(withoutNUL(document))}
	}
	return rows, nil
}

// queuedAt is when an entry puts its job into its line: now, or, if it comes back from a
// trainer, before all that came after it.
func queuedAt(e *scu.Event) time.Time {
	switch e.Type {
	case scu.EventSubmitted, scu.EventResumed, scu.EventRetried:
		return e.Time
	}
	return e.Job.CreatedAt
}

// withoutNUL replaces NUL characters in strings of a JSON document by U+FFFD,
// in place: Postgres can't hold them, and an error's text may have one.
func withoutNUL(document []byte) []byte {
	for i := 0; i+1 < len(document); i++ {
		if document[i] != '\\' {
			continue
		}
		if rest := document[i+1:]; len(rest) >= 5 && string(rest[:5]) == "u0000" {
			copy(rest, "ufffd")
		}
		i++ // what is escaped escapes nothing
	}
	return document
}

func scanJob(scan Scan) (s scu.JobSummary, err error) {
	var document []byte
	var step, steps *int
	if err := scan(&document, &step, &steps); err != nil {
		return s, err
	}
	if err := json.Unmarshal(document, &s.Job); err != nil {
		return s, fmt.Errorf("a job's document: %w", err)
	}
	var newest *scu.Metrics
	if step != nil && steps != nil {
		newest = &scu.Metrics{Step: *step, Steps: *steps}
	}
	s.Progress = scu.ProgressOf(s.Job, newest)
	return s, nil
}

// NewestJobs are the newest entries of each job.
func NewestJobs(entries []scu.LogEntry) []*scu.LogEntry {
	return newest(entries, func(e *scu.LogEntry) string { return e.Event.Job.ID },
		func(a, b *scu.LogEntry) bool { return a.Seq > b.Seq })
}

// NewestMetrics are the newest steps of the newest attempt of each job.
func NewestMetrics(entries []scu.MetricsEntry) []*scu.MetricsEntry {
	return newest(entries, func(e *scu.MetricsEntry) string { return e.Metrics.JobID },
		func(a, b *scu.MetricsEntry) bool { return a.Metrics.Newer(&b.Metrics) })
}

// newest are, of the entries with one key, the one that is newer than all others, in the
// order in which the keys first appear. Entries are large.
func newest[E any](entries []E, key func(*E) string, newer func(a, b *E) bool) []*E {
	at := make(map[string]int)
	var kept []*E
	for i := range entries {
		e := &entries[i]
		k := key(e)
		if i, ok := at[k]; !ok {
			at[k] = len(kept)
			kept = append(kept, e)
		} else if newer(e, kept[i]) {
			kept[i] = e
		}
	}
	return kept
}

// TimeFormat is how times stand in text columns: of fixed width, so that they
// sort as they are, and cut to microseconds, as Postgres keeps them.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// timeColumn scans a time that is text or a time.
type timeColumn time.Time

func (c *timeColumn) Scan(v any) error {
	switch v := v.(type) {
	case time.Time:
		*c = timeColumn(v.UTC())
		return nil
	case string:
		t, err := time.Parse(TimeFormat, v)
		*c = timeColumn(t)
		return err
	}
	return fmt.Errorf("a time column holds a %T", v)
}

// Explained says that an error needs no word of the database's: it is the store's
// own, or comes of the caller's context.
func Explained(err error) bool {
	var known *scu.Error
	return errors.As(err, &known) || errors.Is(err, store.ErrFenced) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Touched lists the jobs of a batch that may have metrics to drop: those that were
// deleted, and those that have new metrics and may have been deleted before.
func Touched(b scu.Batch) []string {
	var ids []string
	for _, e := range NewestJobs(b.State) {
		if e.Event.Job.Status == scu.Deleted {
			ids = append(ids, e.Event.Job.ID)
		}
	}
	for _, e := range NewestMetrics(b.Metrics) {
		ids = append(ids, e.Metrics.JobID)
	}
	return ids
}
