//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store/postgres"
	"github.com/shannon-control/scu/store/postgres/postgrestest"
)

// What a status asks reads a few rows along indices, also by a plan that was made when the tables
// were empty.
func TestQuickPlans(t *testing.T) {
	at := postgrestest.Start(t).NewDatabase(t)
	root, err := pgx.Connect(t.Context(), at)
	must(t, err)
	defer root.Close(t.Context())
	read := func() (tables, rows int) { // whole ones, and rows of indices, which connections tell when they end
		t.Helper()
		for left := 1; left > 0; {
			must(t, root.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`).Scan(&left))
		}
		must(t, root.QueryRow(t.Context(), `SELECT sum(seq_scan), (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
			FROM pg_stat_user_tables WHERE relname IN ('jobs', 'metrics', 'progress')`).Scan(&tables, &rows))
		return tables, rows
	}
	s, err := postgres.Open(t.Context(), at)
	must(t, err)
	s.Close()
	tables, rows := read()

	if s, err = postgres.Open(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	const before = 3
	ask := func(want int) {
		t.Helper()
		a, err := s.Ahead(t.Context(), scu.Job{ID: "0000000000000fff", Class: "cpu", UpdatedAt: time.UnixMilli(before + 1)}, 0, scu.DefaultAgeing)
		must(t, err)
		if a.Jobs() != want {
			t.Errorf("%d jobs are before it, want %d", a.Jobs(), want)
		}
		if _, err := s.Latest(t.Context(), "0000000000000001"); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("a job without steps: %v", err)
		}
	}
	ask(0)
	_, err = root.Exec(t.Context(), `INSERT INTO jobs (job_id, seq, created_at, queued, document)
		SELECT lpad(to_hex(i), 16, '0'), i, now(), i, jsonb_build_object('job_id', lpad(to_hex(i), 16, '0'), 'status', 'queued', 'class', 'cpu', 'priority', 0)
		FROM generate_series(1, 500) i`)
	must(t, err)
	ask(before)
	s.Close()
	tablesNow, rowsNow := read()
	if tablesNow != tables || rowsNow-rows > 50 {
		t.Errorf("%d whole tables and %d rows of indices were read", tablesNow-tables, rowsNow-rows)
	}
}
