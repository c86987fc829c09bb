package atomicfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shannon-control/scu/atomicfile"
)

// A file is there whole, with its permissions, or as it was; nothing is left beside it.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	is := func(want string, perm fs.FileMode) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != perm {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("%v, %v", all, err)
		}
	}
	if err := atomicfile.WriteBytes(path, 0o644, []byte("old")); err != nil {
		t.Fatal(err)
	}
	is("old", 0o644)
	broken := errors.New("broken")
	err := atomicfile.Write(path, 0o600, func(w io.Writer) error {
		io.WriteString(w, "half")
		if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
			t.Errorf("while it is written it is %q, %v", got, err)
		}
		return broken
	})
	if err != broken {
		t.Error(err)
	}
	is("old", 0o644)
	if err := atomicfile.WriteBytes(path, 0o400, []byte("new")); err != nil {
		t.Fatal(err)
	}
	is("new", 0o400)
	if err := atomicfile.WriteBytes(filepath.Join(dir, "nowhere", "file"), 0o600, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	blocked := filepath.Join(dir, "blocked")
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteBytes(blocked, 0o600, nil); err == nil {
		t.Error("a file takes the place of a folder")
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

// Of those that create a file one does, whole.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := atomicfile.Create(path, 0o600, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Create(path, 0o600, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// What was being written long ago is swept, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{atomicfile.Partial + "old": 2 * time.Hour, atomicfile.Partial + "fresh": 0, "old": 2 * time.Hour} {
		path, then := filepath.Join(dir, name), now.Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if err := atomicfile.Sweep(dir, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "*old"))
	if _, fresh := os.Stat(filepath.Join(dir, atomicfile.Partial+"fresh")); err != nil || fresh != nil || len(all) != 1 || filepath.Base(all[0]) != "old" {
		t.Errorf("%q, %v, %v", all, err, fresh)
	}
	if err := atomicfile.Sweep(filepath.Join(dir, "nowhere"), now); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
