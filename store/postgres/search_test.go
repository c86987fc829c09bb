//go:build unix

package postgres_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store/postgres"
	"github.com/shannon-control/scu/store/postgres/postgrestest"
)

// A search of many jobs reads an index if the database is the user's own, without being a
// superuser; a user who may not create the extension finds the same without one.
func TestSearchIndex(t *testing.T) {
	server := postgrestest.Start(t)
	for _, c := range []struct {
		name    string
		indexed bool
	}{
		{"owner", true},
		{"guest", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := server.NewDatabase(t)
			root, err := pgx.Connect(t.Context(), at)
			must(t, err)
			defer root.Close(t.Context())
			exec := func(sql string, args ...any) {
				t.Helper()
				_, err := root.Exec(t.Context(), sql, args...)
				must(t, err)
			}
			exec("CREATE ROLE " + c.name + " LOGIN")
			exec("GRANT ALL ON SCHEMA public TO " + c.name)
			if c.indexed {
				exec("GRANT CREATE ON DATABASE " + root.Config().Database + " TO " + c.name)
			}
			s, err := postgres.Open(t.Context(), as(t, at, c.name))
			must(t, err)
			defer s.Close()
			exec(`INSERT INTO jobs (job_id, seq, created_at, document)
				SELECT lpad(to_hex(i), 16, '0'), i, now(), jsonb_build_object('job_id', lpad(to_hex(i), 16, '0'), 'name', 'Copy ' || i, 'base_model', 'bookworm-2m', 'status', 'completed')
				FROM generate_series(1, 20000) i`)
			exec("ANALYZE jobs")
			for text, want := range map[string]int{"copy 1999": 11, "no such job": 0, "BOOKWORM": 50, "0000000000004e2": 1, "%": 0} {
				found, err := s.Jobs(t.Context(), scu.JobFilter{Search: text, Limit: 50})
				must(t, err)
				if len(found) != want {
					t.Errorf("%q finds %d jobs, want %d", text, len(found), want)
				}
			}
			rows, err := root.Query(t.Context(), `EXPLAIN SELECT document FROM jobs j WHERE lower(j.name) LIKE '%1999%' OR lower(j.base_model) LIKE '%1999%' OR j.job_id LIKE '1999%'`)
			must(t, err)
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			must(t, err)
			if read := strings.Contains(strings.Join(plan, "\n"), "jobs_by_words"); read != c.indexed {
				t.Errorf("an index is read: %v, want %v, by the plan\n%s", read, c.indexed, strings.Join(plan, "\n"))
			}
		})
	}
}

// An index that couldn't be made, since the extension wasn't there, is made at a start when it is,
// also of several processes that start at once.
func TestSearchIndexComesLater(t *testing.T) {
	server := postgrestest.Start(t)
	at := server.NewDatabase(t)
	root, err := pgx.Connect(t.Context(), at)
	must(t, err)
	defer root.Close(t.Context())
	for _, sql := range []string{"CREATE ROLE late LOGIN", "GRANT ALL ON SCHEMA public TO late"} {
		_, err := root.Exec(t.Context(), sql)
		must(t, err)
	}
	opened := func(want bool) {
		t.Helper()
		var all errgroup.Group
		for range 3 {
			all.Go(func() error {
				s, err := postgres.Open(t.Context(), as(t, at, "late"))
				if err == nil {
					err = s.Close()
				}
				return err
			})
		}
		must(t, all.Wait())
		var there bool
		must(t, root.QueryRow(t.Context(), "SELECT to_regclass('jobs_by_words') IS NOT NULL").Scan(&there))
		if there != want {
			t.Errorf("an index: %v, want %v", there, want)
		}
	}
	opened(false)
	_, err = root.Exec(t.Context(), "CREATE EXTENSION pg_trgm")
	must(t, err)
	opened(true)
}

// as is a database's URL with another user.
func as(t *testing.T, database, name string) string {
	t.Helper()
	u, err := url.Parse(database)
	must(t, err)
	u.User = url.User(name)
	return u.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
