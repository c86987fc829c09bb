package base

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// listing is what shows whether somebody has written to a folder's files since.
type listing map[string]fs.FileInfo

// list looks at the files in a folder, through links.
func list(dir string) (listing, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := listing{}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files[e.Name()] = info
		}
	}
	return files, nil
}

// Unchanged reports whether the folder still has the files it had when the model
// was opened: the same ones, of the same sizes, not written to since. Only then may
// a model that stayed open be used as if it were opened anew: its weights are mapped
// from these files, and reading beyond the end of one that was cut short would
// end the process.
func (b *Model) Unchanged() bool { return b.opened.still(b.Dir) }

// still reports whether a folder has these files, and not written to since.
func (was listing) still(dir string) bool {
	now, err := list(dir)
	if err != nil || len(now) != len(was) {
		return false
	}
	for name, w := range was {
		is, ok := now[name]
		if !ok || !os.SameFile(w, is) || w.Size() != is.Size() || !w.ModTime().Equal(is.ModTime()) {
			return false
		}
	}
	return true
}

// newest is when a file was last written to.
func (was listing) newest() (t time.Time) {
	for _, info := range was {
		if m := info.ModTime(); m.After(t) {
			t = m
		}
	}
	return t
}
