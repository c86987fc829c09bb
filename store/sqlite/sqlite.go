// Package sqlite is the read model in one SQLite file, the store of a service
// on one machine. It keeps a write-ahead log, so that readers never wait for the
// projector: one connection writes, a few read. Losing power may lose the last
// transactions but not break the file, and the log brings them again.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/internal/query"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readers is the number of queries that run at once.
const readers = 4

// Store is a store.Store.
type Store struct {
	query.Reader
	path string

	mu     sync.RWMutex // held for writing while the file is replaced
	writer *sql.DB      // of one connection
	reader *sql.DB
	file   fs.FileInfo // that they are of; nil while it couldn't be opened anew
}

var _ store.Store = (*Store)(nil)

// Open opens the file at path, creating it if missing, and brings its
// tables up to date.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	s := &Store{path: path}
	s.Reader = s.read
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the file, which is created if missing, and brings its tables up to date.
func (s *Store) open(ctx context.Context) error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite's own would be everybody's to read
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	file, err := f.Stat()
	f.Close()
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if s.writer, err = connect(s.path, "&_txlock=immediate"); err != nil {
		return s.fault("open", err)
	}
	s.writer.SetMaxOpenConns(1)
	if s.reader, err = connect(s.path, "&_pragma=query_only(1)"); err != nil {
		s.writer.Close()
		return s.fault("open", err)
	}
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	if err := s.migrate(ctx); err != nil {
		s.close()
		return s.fault("migrate", err)
	}
	s.file = file
	return nil
}

func connect(path, more string) (*sql.DB, error) {
	file := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	return sql.Open("sqlite", file.String()+
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)"+more)
}

// migrate runs the migrations of the package. A lock beside the file keeps two
// processes that start at once from running the same one.
func (s *Store) migrate(ctx context.Context) error {
	lock := flock.New(s.path + ".lock")
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	defer lock.Unlock()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.writer, files, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close ends all queries and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

func (s *Store) close() error { return errors.Join(s.reader.Close(), s.writer.Close()) }

// fault wraps err with what failed on which file; a file that others kept busy too long
// is worth another try.
func (s *Store) fault(doing string, err error) error {
	if err == nil || query.Explained(err) {
		return err
	}
	code, hint := scu.CodeInternal, ""
	var e *driver.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY:
			code = scu.CodeUnavailable
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			code = scu.CodeDamaged
			hint = "it holds nothing that the log hasn't: move it away, and the next start makes it anew"
		}
	}
	return scu.Errorf(code, "%s the database %s: %w", doing, s.path, err).WithHint("%s", hint)
}

// Project applies a batch; see store.Store.
func (s *Store) Project(ctx context.Context, b scu.Batch) error {
	if err := store.Check(b); err != nil {
		return err
	}
	return query.Within(ctx, query.WriteTime, func(ctx context.Context) error { return s.fault("write to", s.project(ctx, b)) })
}

func (s *Store) project(ctx context.Context, b scu.Batch) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	moved, err := tx.ExecContext(ctx, query.MovePositions,
		int64(b.To.State), int64(b.To.Metrics), b.To.Log, int64(b.From.State), int64(b.From.Metrics))
	if err != nil {
		return err
	}
	if n, err := moved.RowsAffected(); err != nil {
		return err
	} else if n != 1 {
		return store.ErrFenced
	}
	if err := insertJobs(ctx, tx, b.State); err != nil {
		return err
	}
	if err := insertMetrics(ctx, tx, b.Metrics); err != nil {
		return err
	}
	if err := insertProgress(ctx, tx, b.Metrics); err != nil {
		return err
	}
	if err := dropDeleted(ctx, tx, query.Touched(b)); err != nil {
		return err
	}
	return tx.Commit()
}

// rowsAtOnce is how many rows one INSERT takes: enough that the cost of a call
// no longer shows.
const rowsAtOnce = 50

// insertRows inserts n rows of so many columns, rowsAtOnce at a time. before and after
// stand around the rows, and values appends a row's.
func insertRows(ctx context.Context, tx *sql.Tx, before, after string, columns, n int, values func(dst []any, i int) []any) error {
	var insert *sql.Stmt
	rows := 0 // of insert
	dst := make([]any, 0, rowsAtOnce*columns)
	for from := 0; from < n; from += rowsAtOnce {
		if now := min(rowsAtOnce, n-from); now != rows { // the first, and a shorter last one
			rows = now
			row := "(" + strings.Repeat("?,", columns-1) + "?)"
			var err error
			if insert, err = tx.PrepareContext(ctx, before+"VALUES "+strings.Repeat(row+",", rows-1)+row+after); err != nil {
				return err
			}
			defer insert.Close()
		}
		dst = dst[:0]
		for i := range rows {
			dst = values(dst, from+i)
		}
		if _, err := insert.ExecContext(ctx, dst...); err != nil {
			return err
		}
	}
	return nil
}

func insertJobs(ctx context.Context, tx *sql.Tx, entries []scu.LogEntry) error {
	rows, err := query.JobRows(entries)
	if err != nil {
		return err
	}
	optional := func(t *time.Time) any {
		if t == nil {
			return nil
		}
		return column(*t)
	}
	return insertRows(ctx, tx, query.InsertJobs, query.OnJob, 7, len(rows), func(dst []any, i int) []any {
		r := &rows[i]
		return append(dst, r.ID, r.Seq, column(r.CreatedAt), optional(r.StartedAt), optional(r.CompletedAt), r.Queued, r.Document)
	})
}

func insertMetrics(ctx context.Context, tx *sql.Tx, entries []scu.MetricsEntry) error {
	before := "INSERT INTO metrics (" + strings.Join(query.MetricColumns, ",") + ") "
	return insertRows(ctx, tx, before, " ON CONFLICT DO NOTHING", len(query.MetricColumns), len(entries), func(dst []any, i int) []any {
		return query.MetricValues(dst, &entries[i].Metrics, column)
	})
}

func insertProgress(ctx context.Context, tx *sql.Tx, entries []scu.MetricsEntry) error {
	newest := query.NewestMetrics(entries)
	return insertRows(ctx, tx, query.InsertProgress, query.OnProgress, 4, len(newest), func(dst []any, i int) []any {
		m := &newest[i].Metrics
		return append(dst, m.JobID, m.Attempt, m.Step, m.Steps)
	})
}

// dropDeleted removes what is left of those jobs that are deleted.
func dropDeleted(ctx context.Context, tx *sql.Tx, ids []string) error {
	set, err := json.Marshal(ids)
	if err != nil || len(ids) == 0 {
		return err
	}
	const inSet = `IN (SELECT value FROM json_each(?))`
	for _, q := range [][2]string{{query.DropMetrics, query.DroppedMetrics}, {query.DropProgress, query.DroppedProgress}} {
		dropped, err := tx.ExecContext(ctx, q[0]+`IN (`+query.Deleted+inSet+`)`, string(set))
		if err != nil {
			return err
		}
		n, err := dropped.RowsAffected()
		if err == nil && n > 0 {
			_, err = tx.ExecContext(ctx, q[1], n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func column(t time.Time) any { return t.UTC().Format(query.TimeFormat) }

// Ping: see scu.ReadModel. It also notices that another process replaced the file.
func (s *Store) Ping(ctx context.Context) error {
	return query.Within(ctx, query.ReadTime, func(ctx context.Context) error {
		if err := s.follow(ctx); err != nil {
			return err
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		_, err := s.writer.ExecContext(ctx, query.Touch)
		return s.fault("write to", err)
	})
}

// follow opens the file anew if there is another one by its name, or if that failed before.
func (s *Store) follow(ctx context.Context) error {
	s.mu.RLock()
	now, err := os.Stat(s.path)
	stays := s.file != nil && (errors.Is(err, fs.ErrNotExist) || err == nil && os.SameFile(s.file, now)) // if there is none, there will be one
	s.mu.RUnlock()
	if stays {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	s.file = nil
	return s.open(ctx)
}

// Reset empties the model. A file that is damaged is moved aside, and a new one made.
func (s *Store) Reset(ctx context.Context) error {
	err := s.empty(ctx)
	if scu.CodeOf(err) != scu.CodeDamaged {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	s.file = nil
	if err := SetAside(s.path); err != nil {
		return err
	}
	return s.open(ctx)
}

// SetAside moves a database's file, with what belongs to it, out of the way: to the same name
// with .damaged, where the one before it goes.
func SetAside(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, path+suffix+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set the database aside: %w", err)
		}
	}
	return nil
}

func (s *Store) empty(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return s.fault("empty", err)
	}
	defer tx.Rollback()
	for _, q := range []string{"DELETE FROM jobs", "DELETE FROM metrics", "DELETE FROM progress", "DELETE FROM position", query.FirstPosition} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return s.fault("empty", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return s.fault("empty", err)
	}
	return s.whole(ctx)
}

// whole looks for pages that can't be read, beside what is written meanwhile.
func (s *Store) whole(ctx context.Context) error {
	var found string
	if err := s.reader.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return s.fault("check", err)
	}
	if found != "ok" {
		return scu.Errorf(scu.CodeDamaged, "the database %s is damaged: %.200s", s.path, found)
	}
	return nil
}

// Check: see scu.ReadModel. It reads all pages, of the file that is there now.
func (s *Store) Check(ctx context.Context) error {
	if err := s.follow(ctx); err != nil {
		return err
	}
	if err := s.Reader.Check(ctx); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.whole(ctx)
}

func (s *Store) read(ctx context.Context, sql string, args []any, row func(query.Scan) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rows, err := s.reader.QueryContext(ctx, sql, args...)
	if err != nil {
		return s.fault("read", err)
	}
	defer rows.Close()
	return s.fault("read", query.Each(rows, row))
}
