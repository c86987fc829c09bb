//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shannon-control/scu/store/postgres/postgrestest"
)

// fakedClock are the variables with which a program of C sees the clock that a file of
// setFaked stands for, by libfaketime; nil if that isn't here.
func fakedClock(t testing.TB, file string) []string {
	t.Helper()
	root, err := filepath.Abs("../..")
	check(t, err)
	for _, pattern := range []string{filepath.Join(root, "bin", "libfaketime.so.1"), "/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return []string{"LD_PRELOAD=" + found[0], "FAKETIME_TIMESTAMP_FILE=" + file, "FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_RESET=1"}
		}
	}
	return nil
}

// setFaked puts the clock that a file stands for ahead, within a second.
func setFaked(t testing.TB, file string, ahead time.Duration) {
	t.Helper()
	check(t, os.WriteFile(file, fmt.Appendf(nil, "%+d\n", int(ahead.Seconds())), 0o644))
	check(t, os.Chmod(filepath.Dir(filepath.Dir(file)), 0o711)) // a test's folder; PostgreSQL has a user of its own
}

// PostgreSQL's clock steps while it runs, and back.
func TestFakedClock(t *testing.T) {
	if testing.Short() || !*chaosClock {
		t.Skip("needs libfaketime: make chaos has it")
	}
	dir := t.TempDir()
	file := dir + "/clock"
	setFaked(t, file, 0)
	env := fakedClock(t, file)
	if env == nil {
		t.Skip("libfaketime isn't here")
	}
	s, err := postgrestest.Run(postgrestest.Place{Env: env})
	check(t, err)
	t.Cleanup(s.Remove)
	url, err := s.Create()
	check(t, err)
	db, err := pgx.Connect(t.Context(), url)
	check(t, err)
	defer db.Close(t.Context())
	for _, by := range []time.Duration{time.Hour, -time.Hour, 0} {
		setFaked(t, file, by)
		for deadline := time.Now().Add(time.Minute); ; {
			var now time.Time
			check(t, db.QueryRow(t.Context(), "select clock_timestamp()").Scan(&now))
			if (time.Until(now) - by).Abs() < 30*time.Second {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v from now, want %v", time.Until(now), by)
			}
		}
	}
}
