package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
	"github.com/shannon-control/scu/store/storetest"
)

// file is a database for the suite. Its name has characters that a URI escapes.
type file string

func newFile(t testing.TB) file { return file(filepath.Join(t.TempDir(), "data 100%", "scu?#.db")) }

func (f file) Open(ctx context.Context) (store.Store, error) { return sqlite.Open(ctx, string(f)) }

func (f file) SQL() (*sql.DB, error) {
	path := (&url.URL{Path: string(f)}).EscapedPath()
	return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database { return newFile(t) })
}

func BenchmarkProject(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) storetest.Database { return newFile(b) })
}

func BenchmarkProjectJobs(b *testing.B) {
	storetest.BenchmarkJobs(b, func(b *testing.B) storetest.Database { return newFile(b) })
}

func BenchmarkRead(b *testing.B) {
	storetest.BenchmarkReads(b, func(b *testing.B) storetest.Database { return newFile(b) })
}

// BenchmarkOpen opens a database that isn't there yet: part of every first start.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		s, err := newFile(b).Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

func TestFileIsItsOwnersAlone(t *testing.T) {
	f := newFile(t)
	s, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := filepath.Glob(filepath.Join(filepath.Dir(string(f)), "*"))
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	for _, path := range all {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// A file that is damaged, or none of SQLite's, is refused with what to do.
func TestDamagedFile(t *testing.T) {
	f := file(filepath.Join(t.TempDir(), "scu.db"))
	if err := os.WriteFile(string(f), bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := f.Open(t.Context()); err == nil {
		s.Close()
		t.Error("it was opened")
	} else if e := scu.AsError(err); !strings.Contains(e.Hint, "move it away") {
		t.Errorf("%v", err)
	}
	if err := sqlite.SetAside(string(f)); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, f)
	if _, err := os.Stat(string(f) + ".damaged"); err != nil {
		t.Error(err)
	}
}

// Pages that are damaged are noticed; the file is moved aside and filled anew, and another
// process that has it open goes over to the new one.
func TestDamagedPages(t *testing.T) {
	f := newFile(t)
	s, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.NewLog()
	end := storetest.Fill(l, 200)
	if err := store.NewProjector(s, l, storetest.Options()).Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := storetest.Rows(t, f)
	s.Close() // all is in the file
	b, err := os.ReadFile(string(f))
	if err != nil {
		t.Fatal(err)
	}
	for at := 8 * 4096; at < len(b); at += 3 * 4096 {
		copy(b[at:], bytes.Repeat([]byte{0xff}, 4096))
	}
	if err := os.WriteFile(string(f), b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, other := storetest.Open(t, f), storetest.Open(t, f)
	for _, s := range []store.Store{s, other} {
		if err := s.Check(t.Context()); scu.CodeOf(err) != scu.CodeDamaged {
			t.Errorf("got %v", err)
		}
	}
	p := store.NewProjector(s, l, storetest.Options())
	storetest.Start(t, p)
	storetest.WaitFor(t, p, end)
	if got := storetest.Rows(t, f); got != want {
		t.Error("the rows are others than before")
	}
	if err := other.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, err := other.Position(t.Context()); err != nil || at != end {
		t.Errorf("the other process sees %+v, %v", at, err)
	}
}

// A new file that can't be opened when it is noticed is opened later, by whoever asks next.
func TestNewFileIsOpenedAgain(t *testing.T) {
	for name, ask := range map[string]func(store.Store, context.Context) error{"ping": store.Store.Ping, "check": store.Store.Check} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t)
			s := storetest.Open(t, f)
			if err := sqlite.SetAside(string(f)); err != nil {
				t.Fatal(err)
			}
			storetest.Open(t, f) // makes the new one
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if err := ask(s, gone); err == nil {
				t.Error("it was opened for a caller that is gone")
			}
			if err := ask(s, t.Context()); err != nil {
				t.Fatal(err)
			}
			if at, err := s.Position(t.Context()); err != nil || at != (scu.Position{}) {
				t.Errorf("stands at %+v, %v", at, err)
			}
		})
	}
}
