package query

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// Reader answers a store's questions. It runs a statement, calls row for each
// row it gives, and makes errors of the database the store's.
type Reader func(ctx context.Context, sql string, args []any, row func(Scan) error) error

// read does so in its time.
func (r Reader) read(ctx context.Context, sql string, args []any, row func(Scan) error) error {
	return Within(ctx, ReadTime, func(ctx context.Context) error { return r(ctx, sql, args, row) })
}

// Scan reads the columns of the row at hand into pointers.
type Scan func(columns ...any) error

// all reads every row.
func all[T any](ctx context.Context, r Reader, read func(Scan) (T, error), sql string, args ...any) ([]T, error) {
	var rows []T
	err := r.read(ctx, sql, args, func(s Scan) error {
		v, err := read(s)
		rows = append(rows, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// one reads the only row, or is the error none.
func one[T any](ctx context.Context, r Reader, none error, read func(Scan) (T, error), sql string, args ...any) (v T, err error) {
	rows, err := all(ctx, r, read, sql, args...)
	if err != nil {
		return v, err
	}
	if len(rows) == 0 {
		return v, none
	}
	return rows[0], nil
}

// Rows are what a query found, in either driver's words.
type Rows interface {
	Next() bool
	Scan(to ...any) error
	Err() error
}

// Each hands over row after row.
func Each(rows Rows, row func(Scan) error) error {
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// column reads a row of one column.
func column[T any](s Scan) (v T, err error) {
	err = s(&v)
	return v, err
}

// Position: see store.Store.
func (r Reader) Position(ctx context.Context) (scu.Position, error) {
	none := scu.Errorf(scu.CodeDamaged, "the read model has lost its position").WithHint("drop its tables and start again")
	return one(ctx, r, none, func(s Scan) (p scu.Position, err error) {
		err = s(&p.State, &p.Metrics, &p.Log)
		return p, err
	}, positions)
}

// Check: see scu.ReadModel. It counts all rows, which takes as long as it takes.
func (r Reader) Check(ctx context.Context) error {
	var gone [3]int64
	position := false
	err := Within(ctx, CheckTime, func(ctx context.Context) error {
		return r(ctx, missing, nil, func(s Scan) error {
			position = true
			return s(&gone[0], &gone[1], &gone[2])
		})
	})
	if err == nil && !position {
		err = scu.Errorf(scu.CodeDamaged, "the read model has lost its position")
	}
	if err == nil && gone != [3]int64{} {
		err = scu.Errorf(scu.CodeDamaged, "the read model is damaged: of its rows %d of jobs, %d of metrics and %d of progress are missing", gone[0], gone[1], gone[2]).
			WithHint("the projector makes it anew from the log; scu projector --rebuild does so at once")
	}
	return err
}

// Job: see store.Store.
func (r Reader) Job(ctx context.Context, id string) (scu.Job, scu.Progress, error) {
	if !scu.ValidJobID(id) {
		return scu.Job{}, scu.Progress{}, scu.NoJob(id)
	}
	j, err := one(ctx, r, scu.NoJob(id), scanJob, jobByID, id)
	return j.Job, j.Progress, err
}

// Jobs: see store.Store.
func (r Reader) Jobs(ctx context.Context, f scu.JobFilter) ([]scu.JobSummary, error) {
	f.Owner, f.Search, f.ErrorCode = storable(f.Owner), storable(f.Search), storable(f.ErrorCode)
	q, args := job, []any{bound(f.Limit, scu.DefaultJobs, scu.MaxJobs)}
	q += " WHERE j.status <> 'deleted'"
	if f.Status != "" {
		if !slices.Contains(scu.Statuses, f.Status) {
			return nil, scu.Errorf(scu.CodeInvalid, "%.40q is no status of a job; they are %v", f.Status, scu.Statuses).At("status")
		}
		args = append(args, string(f.Status))
		q += fmt.Sprintf(" AND j.status = $%d", len(args))
	}
	if f.Owner != "" {
		args = append(args, f.Owner)
		q += fmt.Sprintf(" AND j.owner = $%d", len(args))
	}
	if f.Search != "" {
		args = append(args, "%"+unlike(f.Search)+"%", unlike(f.Search)+"%")
		q += fmt.Sprintf(` AND (lower(j.name) LIKE lower($%[1]d) ESCAPE '\' OR lower(j.base_model) LIKE lower($%[1]d) ESCAPE '\' OR j.job_id LIKE lower($%[2]d) ESCAPE '\')`, len(args)-1, len(args))
	}
	if f.GivenUp {
		q += " AND CAST(j.document->>'given_up' AS text) IN ('true', '1')" // Postgres, SQLite
	}
	if f.ErrorCode != "" {
		args = append(args, string(f.ErrorCode))
		q += fmt.Sprintf(" AND j.error_code = $%d", len(args))
	}
	if f.After != "" {
		if !scu.ValidJobID(f.After) {
			return nil, scu.NoJob(f.After)
		}
		when, of := createdAt, []any{f.After}
		if f.Owner != "" { // another's is not there
			when, of = when+" AND owner = $2", append(of, f.Owner)
		}
		age, err := one(ctx, r, scu.NoJob(f.After), column[any], when, of...)
		if err != nil {
			return nil, err
		}
		args = append(args, age, f.After)
		q += fmt.Sprintf(" AND (j.created_at, j.job_id) < ($%d, $%d)", len(args)-1, len(args))
	}
	return all(ctx, r, scanJob, q+" ORDER BY j.created_at DESC, j.job_id DESC LIMIT $1", args...)
}

// unlike makes a text stand for itself in LIKE.
func unlike(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}

// storable is a text that is asked for as a column may have it: PostgreSQL refuses NUL and what
// isn't UTF-8.
func storable[T ~string](text T) T {
	return T(strings.ToValidUTF8(strings.ReplaceAll(string(text), "\x00", "\ufffd"), "\ufffd"))
}

// Ahead: see scu.ReadModel.
func (r Reader) Ahead(ctx context.Context, j scu.Job, seq uint64, ageing time.Duration) (scu.Ahead, error) {
	var owners, most int
	a, err := one(ctx, r, nil, func(s Scan) (a scu.Ahead, err error) {
		err = s(&a.HigherPriority, &a.SamePriority, &owners, &most)
		return a, err
	}, ahead, j.Class, j.Owner, j.Priority, j.UpdatedAt.UnixMilli(), int64(seq), ageing.Milliseconds(), j.ID, scu.CountedAhead)
	a.More = most == scu.CountedAhead
	if err != nil || owners == 0 {
		return a, err
	}
	turns := a.HigherPriority + a.SamePriority + 1
	counted := min(turns, max(1, scu.CountedAhead/owners)) // of each
	a.OtherOwners, err = one(ctx, r, nil, column[int], others, j.Class, j.Owner, counted)
	a.More = a.More || counted < turns && a.OtherOwners >= counted
	return a, err
}

// UsersOf: see scu.ReadModel.
func (r Reader) UsersOf(ctx context.Context, owner, fileID string, limit int) ([]string, error) {
	q, args := usersOf, []any{fileID, limit}
	if owner != "" {
		q, args = q+" AND owner = $3", append(args, owner)
	}
	return all(ctx, r, column[string], q+" ORDER BY created_at, job_id LIMIT $2", args...)
}

// Counts: see store.Store.
func (r Reader) Counts(ctx context.Context, owner string) (map[scu.Status]int, error) {
	n := make(map[scu.Status]int, len(scu.Statuses))
	for _, s := range scu.Statuses {
		n[s] = 0
	}
	q, args := counts, []any(nil)
	if owner != "" {
		q, args = q+" AND owner = $1", []any{owner}
	}
	err := r.read(ctx, q+" GROUP BY status", args, func(s Scan) error {
		var status string
		var count int
		err := s(&status, &count)
		n[scu.Status(status)] = count
		return err
	})
	return n, err
}

// WaitingOf: see scu.ReadModel. One statement sees one state of the database.
func (r Reader) WaitingOf(ctx context.Context, owner string) (jobs int, at uint64, err error) {
	err = r.read(ctx, waitingOf, []any{owner}, func(s Scan) error { return s(&at, &jobs) })
	return jobs, at, err
}

// Waiting: see scu.ReadModel.
func (r Reader) Waiting(ctx context.Context) ([]scu.Waiting, error) {
	return all(ctx, r, func(s Scan) (w scu.Waiting, err error) {
		err = s(&w.Class, &w.Priority, &w.Jobs, (*timeColumn)(&w.Oldest))
		return w, err
	}, waiting)
}

// Metrics: see store.Store.
func (r Reader) Metrics(ctx context.Context, id string, p scu.StepPage) ([]scu.Metrics, bool, error) {
	if !scu.ValidJobID(id) {
		return nil, false, nil
	}
	n := bound(p.Limit, scu.DefaultSteps, scu.MaxSteps)
	q, args := metricsPage, []any{id, p.AfterStep, n + 1}
	if len(p.Only) > 0 {
		q, args = metricsOf, append(args, stepsOf(p.Only[:min(len(p.Only), scu.MaxSteps)]))
	}
	rows, err := all(ctx, r, scanMetrics, q, args...)
	if len(rows) > n {
		return rows[:n], true, err
	}
	return rows, false, err
}

// stepsOf are the keys of an object, which each database takes apart by json_each: with a
// parameter for each step, PostgreSQL would keep a statement for each number of them.
func stepsOf(steps []int) string {
	keys := make(map[int]bool, len(steps))
	for _, step := range steps {
		keys[step] = true
	}
	object, _ := json.Marshal(keys) // whole numbers and true can't fail
	return string(object)
}

// Curves: see scu.ReadModel.
func (r Reader) Curves(ctx context.Context, id string, each func(scu.CurvePoint)) error {
	if !scu.ValidJobID(id) {
		return nil
	}
	var held scu.CurvePoint // until it is known that no newer attempt has the step
	err := Within(ctx, CurvesTime, func(ctx context.Context) error {
		return r(ctx, curves, []any{id}, func(scan Scan) error {
			var p scu.CurvePoint
			if err := scan(&p.Step, &p.CE, &p.ValLoss, &p.S, &p.SHat, &p.Lambda, &p.LambdaNext, &p.LambdaHeld); err != nil {
				return err
			}
			if held.Step > 0 && held.Step != p.Step {
				each(held)
			}
			held = p
			return nil
		})
	})
	if err == nil && held.Step > 0 {
		each(held)
	}
	return err
}

// Latest: see store.Store.
func (r Reader) Latest(ctx context.Context, id string) (scu.Metrics, error) {
	none := scu.Errorf(scu.CodeNotFound, "job %.40q has no metrics", id)
	if !scu.ValidJobID(id) {
		return scu.Metrics{}, none
	}
	return one(ctx, r, none, scanMetrics, latest, id)
}

func bound(n, otherwise, most int) int {
	if n <= 0 {
		return otherwise
	}
	return min(n, most)
}
