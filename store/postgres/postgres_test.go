//go:build unix

package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/internal/query"
	"github.com/shannon-control/scu/store/postgres"
	"github.com/shannon-control/scu/store/postgres/postgrestest"
	"github.com/shannon-control/scu/store/storetest"
)

// database is a database for the suite, by its URL.
type database string

func (d database) Open(ctx context.Context) (store.Store, error) {
	return postgres.Open(ctx, string(d))
}

func (d database) SQL() (*sql.DB, error) { return sql.Open("pgx", string(d)) }

func TestStore(t *testing.T) {
	server := postgrestest.Start(t)
	storetest.Run(t, func(t *testing.T) storetest.Database { return database(server.NewDatabase(t)) })
}

// TestRestart stops the server while a projector runs: it waits, goes on when
// the server is back, and the rows are those of an undisturbed run.
func TestRestart(t *testing.T) {
	server := postgrestest.Start(t)
	db := database(server.NewDatabase(t))
	s := storetest.Open(t, db)
	log, o := storetest.NewLog(), storetest.Options()
	waiting := make(chan struct{})
	o.Wait = func(ctx context.Context, _ time.Duration) error {
		select {
		case waiting <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p := store.NewProjector(s, log, o)
	storetest.Start(t, p)
	storetest.WaitFor(t, p, storetest.Fill(log, 10))

	server.Stop()
	end := storetest.Fill(log, 20)
	<-waiting
	if _, _, err := s.Job(t.Context(), "0000000000000001"); scu.CodeOf(err) != scu.CodeUnavailable {
		t.Errorf("while the server is down: %v, want %s", err, scu.CodeUnavailable)
	}
	server.Restart(t)
	go func() {
		for range waiting {
		}
	}()
	storetest.WaitFor(t, p, end)

	got := storetest.Rows(t, db)
	if err := p.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if storetest.Rows(t, db) != got {
		t.Error("a rebuild gives other rows")
	}
}

func TestBadURL(t *testing.T) {
	for url, want := range map[string]scu.Code{
		"postgres://u:secret@h:port/x":      scu.CodeInvalid,
		"postgres://u:secret@127.0.0.1:1/x": scu.CodeUnavailable,
	} {
		_, err := postgres.Open(t.Context(), url)
		if scu.CodeOf(err) != want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %s without the password", url, err, want)
		}
	}
}

func BenchmarkProject(b *testing.B) {
	server := postgrestest.Start(b)
	storetest.Benchmark(b, func(b *testing.B) storetest.Database { return database(server.NewDatabase(b)) })
}

func BenchmarkProjectJobs(b *testing.B) {
	server := postgrestest.Start(b)
	storetest.BenchmarkJobs(b, func(b *testing.B) storetest.Database { return database(server.NewDatabase(b)) })
}

func BenchmarkRead(b *testing.B) {
	server := postgrestest.Start(b)
	storetest.BenchmarkReads(b, func(b *testing.B) storetest.Database { return database(server.NewDatabase(b)) })
}

// BenchmarkCopy is the ceiling of BenchmarkProject: COPY alone.
func BenchmarkCopy(b *testing.B) {
	server := postgrestest.Start(b)
	for _, size := range []int{500, 5000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			db := database(server.NewDatabase(b))
			storetest.Open(b, db) // makes the tables
			c, err := pgx.Connect(b.Context(), string(db))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close(b.Context())
			entries, done := make([]scu.MetricsEntry, size), 0
			for b.Loop() {
				storetest.MetricsBatch(entries, done)
				done += size
				_, err := c.CopyFrom(b.Context(), pgx.Identifier{"metrics"}, query.MetricColumns,
					pgx.CopyFromSlice(size, func(i int) ([]any, error) {
						m := &entries[i].Metrics
						return query.MetricValues(nil, m, func(t time.Time) any { return t }), nil
					}))
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
