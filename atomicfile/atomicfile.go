// Package atomicfile writes files that others see whole or not at all, also after a power
// cut: beside their place, synced, renamed, and with the folder synced.
package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Partial begins the names of files that are being written. What a killed process left is
// called so.
const Partial = ".partial-"

// Write makes the file at path of what write gives it, with these permissions. It takes the
// place of an older one in one step. After an error the older one stays, and nothing else.
func Write(path string, perm fs.FileMode, write func(io.Writer) error) error {
	return put(path, perm, write, os.Rename)
}

// Create is Write of bytes where there is no file yet; fs.ErrExist if there is one.
func Create(path string, perm fs.FileMode, b []byte) error {
	return put(path, perm, func(w io.Writer) error { _, err := w.Write(b); return err }, func(from, to string) error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
}

// put writes a file aside and has place put it into its place.
func put(path string, perm fs.FileMode, write func(io.Writer) error, place func(from, to string) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), Partial+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(perm), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// Sweep removes what was left in a folder by processes that died while they wrote, and was last
// changed before a time.
func Sweep(dir string, before time.Time) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), Partial) && info.ModTime().Before(before) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return err
}

// WriteBytes is Write of bytes.
func WriteBytes(path string, perm fs.FileMode, b []byte) error {
	return Write(path, perm, func(w io.Writer) error { _, err := w.Write(b); return err })
}

// SyncFolder makes a rename in the folder last through a power cut, on file systems that
// can.
func SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
