//go:build unix

package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store/postgres/postgrestest"
	"github.com/shannon-control/scu/store/storetest"
)

// A database that can only be read is no read model that follows anything, and one that
// doesn't answer holds nobody for ever.
func TestADatabaseThatHangsOrCanOnlyBeRead(t *testing.T) {
	server := postgrestest.Start(t)
	url := server.NewDatabase(t)
	s := storetest.Open(t, database(url))
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	run := func(sql string) {
		t.Helper()
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	run("BEGIN")
	run("LOCK TABLE jobs, position")
	asked := make(chan error, 3)
	for _, ask := range []func() error{
		func() error { return s.Ping(t.Context()) },
		func() error { _, err := s.Jobs(t.Context(), scu.JobFilter{}); return err },
		func() error { _, err := s.Position(t.Context()); return err },
	} {
		go func() { asked <- ask() }()
	}
	for range 3 {
		if err := <-asked; scu.CodeOf(err) != scu.CodeUnavailable {
			t.Errorf("a locked table gives %v", err)
		}
	}
	run("ROLLBACK")
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Connections keep the setting that they began with.
	run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$")
	run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	for range 2 { // the first may meet a connection that was ended
		err = s.Ping(t.Context())
	}
	if err == nil {
		t.Error("a database that can only be read is written")
	}
	if _, err := s.Jobs(t.Context(), scu.JobFilter{}); err != nil {
		t.Errorf("it can't be read: %v", err)
	}
}

// A read model is damaged if the server says that of its data or of an index, not if the
// server has any other fault: it is emptied and made anew then.
func TestOnlyDamageIsDamage(t *testing.T) {
	db := database(postgrestest.Start(t).NewDatabase(t))
	s := storetest.Open(t, db)
	c, err := db.SQL()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for state, want := range map[string]scu.Code{"XX000": scu.CodeInternal, "XX001": scu.CodeDamaged, "XX002": scu.CodeDamaged} {
		_, err := c.Exec(`CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = '` + state + `'; END $$;
			CREATE OR REPLACE TRIGGER broken BEFORE UPDATE ON position EXECUTE FUNCTION broken()`)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Ping(t.Context()); scu.CodeOf(err) != want {
			t.Errorf("%s gives %v, want %s", state, err, want)
		}
	}
}
