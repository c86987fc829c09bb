package main

import (
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

const (
	// scratchDir is where in the data folder processes have their temporary files, each in a
	// folder of its own.
	scratchDir = "tmp"
	// scratchLock is the file in it that its process holds locked as long as it lives.
	scratchLock = "lock"
)

// openScratch gives the process a folder for temporary files, which goes with it, and removes
// what killed processes left: nobody holds the locks of their folders. The folder becomes TMPDIR,
// so that what libraries and children write aside comes there too. If it can't be made, since the
// disk is full, TMPDIR stays what it was.
func (p *process) openScratch() {
	parent := filepath.Join(p.set.Data, scratchDir)
	p.sweepScratch(parent)
	lock, err := lockScratch(parent, p.role)
	if err != nil {
		p.log.Warn("the folder for temporary files can't be made", "error", err)
		return
	}
	dir := filepath.Dir(lock.Path())
	before := os.Getenv("TMPDIR") // empty counts as unset
	os.Setenv("TMPDIR", dir)
	p.onClose(func() {
		os.Setenv("TMPDIR", before)
		os.RemoveAll(dir)
		lock.Close()
	})
}

// lockScratch makes a folder, and locks it. A process that starts at the same time may sweep it
// before it is locked: then it makes another.
func lockScratch(parent, role string) (*flock.Flock, error) {
	for {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp(parent, role+"-")
		if err != nil {
			return nil, err
		}
		lock := flock.New(filepath.Join(dir, scratchLock))
		mine, err := lock.TryLock()
		_, gone := os.Stat(lock.Path())
		switch {
		case mine && gone == nil:
			return lock, nil
		case err != nil && !os.IsNotExist(err):
			return nil, err
		}
		lock.Close()
	}
}

// sweepScratch removes the folders of processes that ended without doing so.
func (p *process) sweepScratch(parent string) {
	left, _ := os.ReadDir(parent) // there may be none
	for _, x := range left {
		dir := filepath.Join(parent, x.Name())
		lock := flock.New(filepath.Join(dir, scratchLock))
		if free, err := lock.TryLock(); err == nil && free {
			if err := os.RemoveAll(dir); err != nil {
				p.log.Warn("temporary files that a killed process left can't be removed", "folder", dir, "error", err)
			}
		}
		lock.Close()
	}
}
