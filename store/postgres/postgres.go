// Package postgres is the read model in PostgreSQL, the store of services on
// several machines. It is tested with version 15.
package postgres

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/internal/query"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is a store.Store.
type Store struct {
	query.Reader
	pool  *pgxpool.Pool
	quick *pgxpool.Pool // of what a status asks, which no long statement may keep waiting
	at    string        // host and database, for messages
}

var _ store.Store = (*Store)(nil)

// Open connects to the database of a URL, postgres://user:password@host/name or
// a libpq keyword string, and brings its tables up to date. Of several processes
// that start at once one migrates and the others wait for it.
func Open(ctx context.Context, url string) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil { // pgx leaves the password out
		return nil, scu.Errorf(scu.CodeInvalid, "database URL: %w", err).
			WithHint("it has the form postgres://user:password@host:5432/name")
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "scu"
	}
	s := &Store{at: config.ConnConfig.Database + " at " + config.ConnConfig.Host}
	s.Reader = s.readAny
	if s.pool, err = connect(ctx, config, planEach); err == nil {
		s.quick, err = connect(ctx, config, planByIndex)
	}
	if err != nil { // of both alike
		return nil, scu.Errorf(scu.CodeInvalid, "database URL: %w", err)
	}
	if err := s.migrate(ctx); err != nil {
		s.Close()
		if err = s.fault("migrate", err); scu.CodeOf(err) == scu.CodeUnavailable {
			err = scu.AsError(err).WithHint("is PostgreSQL up, and is its URL right?")
		}
		return nil, err
	}
	return s, nil
}

// connect makes a pool whose connections begin with settings.
func connect(ctx context.Context, config *pgxpool.Config, settings string) (*pgxpool.Pool, error) {
	c := config.Copy()
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, settings)
		return err
	}
	return pgxpool.NewWithConfig(ctx, c)
}

// planEach has each execution of a statement planned. A plan that is kept is that of the tables
// as they were: of empty ones, it scans them when they have grown.
const planEach = `SET plan_cache_mode = force_custom_plan`

// planByIndex has statements planned once, which takes longer than some take. Their plans
// suit tables of any size: they go along indices.
const planByIndex = `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
	SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off`

func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	one, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(s.pool)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithLogger(goose.NopLogger()), goose.WithSessionLocker(one))
	if err != nil {
		return err
	}
	if _, err = p.Up(ctx); err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, indexWords)
	return err
}

// indexWords makes the index of searches, as the migration does, if there was no extension for it
// then and is one now. Of several processes that start at once one makes it.
const indexWords = `DO $$ BEGIN
	IF to_regclass('jobs_by_words') IS NULL THEN
		PERFORM pg_advisory_xact_lock(hashtext('jobs_by_words'));
		CREATE EXTENSION IF NOT EXISTS pg_trgm;
		CREATE INDEX IF NOT EXISTS jobs_by_words ON jobs USING gin (lower(name) gin_trgm_ops, lower(base_model) gin_trgm_ops);
	END IF;
EXCEPTION WHEN OTHERS THEN
	RAISE NOTICE 'jobs are searched without an index: %', SQLERRM;
END $$`

// Close waits for running queries and closes the connections.
func (s *Store) Close() error {
	s.pool.Close()
	s.quick.Close()
	return nil
}

// Ahead: see scu.ReadModel.
func (s *Store) Ahead(ctx context.Context, j scu.Job, seq uint64, ageing time.Duration) (scu.Ahead, error) {
	return query.Reader(s.readQuick).Ahead(ctx, j, seq, ageing)
}

// Latest: see scu.ReadModel.
func (s *Store) Latest(ctx context.Context, id string) (scu.Metrics, error) {
	return query.Reader(s.readQuick).Latest(ctx, id)
}

// fault wraps err with what failed on which database, and whether to try again:
// unless the server itself refused the statement, it couldn't be reached.
func (s *Store) fault(doing string, err error) error {
	if err == nil || query.Explained(err) {
		return err
	}
	code := scu.CodeInternal
	var refused *pgconn.PgError
	switch {
	case !errors.As(err, &refused) || passing(refused.Code):
		code = scu.CodeUnavailable
	case refused.Code == dataCorrupted, refused.Code == indexCorrupted: // XX000 is any fault of the server's
		code = scu.CodeDamaged
	}
	return scu.Errorf(code, "%s the database %s: %w", doing, s.at, err)
}

// passing tells SQLSTATEs that pass by themselves: a connection lost (08), too
// few resources (53), a server that stops or starts (57P), a conflict with
// another transaction (40).
func passing(sqlstate string) bool {
	for _, class := range []string{"08", "53", "57P", "40"} {
		if strings.HasPrefix(sqlstate, class) {
			return true
		}
	}
	return false
}

const (
	uniqueViolation = "23505"
	dataCorrupted   = "XX001"
	indexCorrupted  = "XX002"
)

// Project applies a batch; see store.Store. Metrics go in by COPY, which stops
// at a row that is there already. That is rare, so only then is the batch done
// again through a table beside it.
func (s *Store) Project(ctx context.Context, b scu.Batch) error {
	if err := store.Check(b); err != nil {
		return err
	}
	return query.Within(ctx, query.WriteTime, func(ctx context.Context) error {
		err := s.project(ctx, b, copyMetrics)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == uniqueViolation {
			err = s.project(ctx, b, mergeMetrics)
		}
		return s.fault("write to", err)
	})
}

func (s *Store) project(ctx context.Context, b scu.Batch, insert func(context.Context, pgx.Tx, []scu.MetricsEntry) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// The positions come first: their row is the lock by which projectors
		// wait for each other.
		moved, err := tx.Exec(ctx, query.MovePositions,
			int64(b.To.State), int64(b.To.Metrics), b.To.Log, int64(b.From.State), int64(b.From.Metrics))
		if err != nil {
			return err
		}
		if moved.RowsAffected() != 1 {
			return store.ErrFenced
		}
		var rest pgx.Batch
		if err := queueJobs(&rest, b.State); err != nil {
			return err
		}
		queueProgress(&rest, b.Metrics)
		if err := tx.SendBatch(ctx, &rest).Close(); err != nil {
			return err
		}
		if len(b.Metrics) > 0 {
			if err := insert(ctx, tx, b.Metrics); err != nil {
				return err
			}
		}
		return dropDeleted(ctx, tx, query.Touched(b))
	})
}

// queueJobs writes all jobs by one statement, a column an array.
func queueJobs(to *pgx.Batch, entries []scu.LogEntry) error {
	rows, err := query.JobRows(entries)
	if err != nil || len(rows) == 0 {
		return err
	}
	n := len(rows)
	ids, documents := make([]string, n), make([]string, n)
	seqs, queued := make([]int64, n), make([]int64, n)
	created, started, completed := make([]time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	for i, r := range rows {
		ids[i], seqs[i], created[i], started[i], completed[i], queued[i], documents[i] =
			r.ID, r.Seq, r.CreatedAt, r.StartedAt, r.CompletedAt, r.Queued, r.Document
	}
	to.Queue(query.InsertJobs+`SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], $7::jsonb[])`+
		query.OnJob, ids, seqs, created, started, completed, queued, documents)
	return nil
}

// queueProgress does so with how far jobs are.
func queueProgress(to *pgx.Batch, entries []scu.MetricsEntry) {
	newest := query.NewestMetrics(entries)
	if len(newest) == 0 {
		return
	}
	n := len(newest)
	ids, attempts, step, steps := make([]string, n), make([]int, n), make([]int, n), make([]int, n)
	for i := range newest {
		m := &newest[i].Metrics
		ids[i], attempts[i], step[i], steps[i] = m.JobID, m.Attempt, m.Step, m.Steps
	}
	to.Queue(query.InsertProgress+`SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])`+query.OnProgress, ids, attempts, step, steps)
}

// dropDeleted removes what is left of those jobs that are deleted.
func dropDeleted(ctx context.Context, tx pgx.Tx, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, query.Deleted+`= ANY ($1)`, ids)
	if err != nil {
		return err
	}
	deleted, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(deleted) == 0 {
		return err
	}
	for _, q := range [][2]string{{query.DropMetrics, query.DroppedMetrics}, {query.DropProgress, query.DroppedProgress}} {
		dropped, err := tx.Exec(ctx, q[0]+`= ANY ($1)`, deleted)
		if err == nil {
			_, err = tx.Exec(ctx, q[1], dropped.RowsAffected())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyMetrics(ctx context.Context, tx pgx.Tx, entries []scu.MetricsEntry) error {
	return copyInto(ctx, tx, "metrics", entries)
}

func mergeMetrics(ctx context.Context, tx pgx.Tx, entries []scu.MetricsEntry) error {
	if _, err := tx.Exec(ctx, `CREATE TEMPORARY TABLE incoming (LIKE metrics) ON COMMIT DROP`); err != nil {
		return err
	}
	if err := copyInto(ctx, tx, "incoming", entries); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO metrics SELECT * FROM incoming ON CONFLICT DO NOTHING`)
	return err
}

func copyInto(ctx context.Context, tx pgx.Tx, table string, entries []scu.MetricsEntry) error {
	row := make([]any, 0, len(query.MetricColumns))
	_, err := tx.CopyFrom(ctx, pgx.Identifier{table}, query.MetricColumns,
		pgx.CopyFromSlice(len(entries), func(i int) ([]any, error) {
			m := &entries[i].Metrics
			return query.MetricValues(row[:0], m, column), nil
		}))
	return err
}

func column(t time.Time) any { return t }

// Ping: see scu.ReadModel.
func (s *Store) Ping(ctx context.Context) error {
	return query.Within(ctx, query.ReadTime, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, query.Touch)
		return s.fault("write to", err)
	})
}

// Reset empties the model.
func (s *Store) Reset(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `TRUNCATE jobs, metrics, progress, position`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, query.FirstPosition)
		return err
	})
	return s.fault("empty", err)
}

func (s *Store) readAny(ctx context.Context, sql string, args []any, row func(query.Scan) error) error {
	return s.read(ctx, s.pool, sql, args, row)
}

func (s *Store) readQuick(ctx context.Context, sql string, args []any, row func(query.Scan) error) error {
	return s.read(ctx, s.quick, sql, args, row)
}

func (s *Store) read(ctx context.Context, pool *pgxpool.Pool, sql string, args []any, row func(query.Scan) error) error {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return s.fault("read", err)
	}
	defer rows.Close()
	return s.fault("read", query.Each(rows, row))
}
