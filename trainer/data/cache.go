package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cache is a folder of token files, which several processes may share. Any of its
// files may be removed at any time: who reads it has it open and reads on (systems
// that don't allow that keep it), and who wants it next writes it anew.
type Cache struct {
	Dir      string // made where it is missing; "" for none
	MaxBytes int64  // of all files; 0: no bound
}

const tokensEnding = ".tokens"

// path is where the tokens of a key lie; "" for no key.
func (c Cache) path(key string) string {
	if key == "" {
		return ""
	}
	return filepath.Join(c.Dir, key+tokensEnding)
}

// shrink removes the files that were used longest ago until no more than MaxBytes
// are left, but never the one of key. What can't be removed stays.
func (c Cache) shrink(key string) {
	if c.MaxBytes == 0 {
		return
	}
	type file struct {
		name string
		size int64
		used time.Time
	}
	var files []file
	var total int64
	entries, _ := os.ReadDir(c.Dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), tokensEnding) {
			continue
		}
		total += info.Size()
		if e.Name() != key+tokensEnding {
			files = append(files, file{e.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return a.used.Compare(b.used) })
	for _, f := range files {
		if total <= c.MaxBytes {
			return
		}
		if os.Remove(filepath.Join(c.Dir, f.name)) == nil {
			total -= f.size
		}
	}
}
