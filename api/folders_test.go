package api

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

func TestPathsThatAreAllowed(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "train.txt", "hello")
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	writeFile(t, filepath.Join(dir, "sub"), "x y.txt", "hello")
	must(t, os.Symlink(filepath.Join(dir, "sub"), filepath.Join(dir, "short")))
	f, err := newFolders([]string{dir}, nil)
	must(t, err)
	for _, named := range []string{"train.txt", "./train.txt", "sub/x y.txt", "sub/../train.txt", "short/x y.txt", filepath.Join(dir, "train.txt")} {
		file, err := f.openFile(named)
		if err != nil {
			t.Errorf("%s: %v", named, err)
			continue
		}
		file.Close()
	}
	none, err := newFolders(nil, nil)
	must(t, err)
	if _, err := none.openFile("train.txt"); scu.CodeOf(err) != scu.CodeForbidden {
		t.Errorf("without folders a path gave %v", err)
	}
	if _, err := newFolders([]string{filepath.Join(dir, "missing")}, nil); err == nil {
		t.Error("a missing folder was taken")
	}
}

// Relative paths are the first folder's; absolute ones may lie below any.
func TestSeveralFolders(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	writeFile(t, one, "one.txt", "1")
	path := writeFile(t, two, "two.txt", "2")
	must(t, os.Symlink(path, filepath.Join(one, "across.txt")))
	f, err := newFolders([]string{one, two}, nil)
	must(t, err)
	for named, open := range map[string]bool{"one.txt": true, "two.txt": false, path: true, "across.txt": true} {
		file, err := f.openFile(named)
		if (err == nil) != open {
			t.Errorf("%s: %v", named, err)
		}
		if err == nil {
			file.Close()
		}
	}
}

// No path opens a file that lies outside.
func FuzzPaths(f *testing.F) {
	base, err := filepath.EvalSymlinks(f.TempDir())
	must(f, err)
	dir := filepath.Join(base, "data")
	must(f, os.MkdirAll(filepath.Join(dir, "sub", "own"), 0o700))
	writeFile(f, dir, "a", "open")
	writeFile(f, filepath.Join(dir, "sub", "own"), "b", "secret")
	writeFile(f, base, "s", "secret")
	must(f, os.Symlink("..", filepath.Join(dir, "up")))
	must(f, os.Symlink(base, filepath.Join(dir, "sub", "abs")))
	folders, err := newFolders([]string{dir}, []string{filepath.Join(dir, "sub", "own")})
	must(f, err)
	for _, s := range []string{"a", "../s", "up/s", "sub/abs/s", "sub/../up/s", "sub/own/b", "/etc/passwd", "up/data/a", "./a", "\x00", ".", "", "up/data/sub/own/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, named string) {
		file, err := folders.openFile(named)
		if err != nil {
			if strings.Contains(scu.AsError(err).Message, base) {
				t.Errorf("%q: the error tells the server's path: %v", named, err)
			}
			return
		}
		defer file.Close()
		if b, err := io.ReadAll(file); err != nil || string(b) != "open" {
			t.Errorf("%q opened %s with %q, %v", named, file.Name(), b, err)
		}
	})
}
