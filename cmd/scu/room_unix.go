//go:build linux || darwin

package main

import (
	"golang.org/x/sys/unix"

	"github.com/shannon-control/scu"
)

// The room that is kept for the jobs that are here: their checkpoints, adapters and log.
const (
	keptBytes = 1 << 30
	keptShare = 20 // at most one in so many of the disk's bytes
)

// roomIn returns an error if the disk of a folder has no more room than is kept.
func roomIn(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil // who writes there is told
	}
	size := uint64(fs.Bsize)
	free, kept := fs.Bavail*size, min(keptBytes, fs.Blocks*size/keptShare)
	if free >= kept {
		return nil
	}
	return scu.Errorf(scu.CodeStorage, "the disk is nearly full: %d MiB are free, and %d MiB are kept for the jobs that are here", free>>20, kept>>20).
		WithHint("delete jobs and files, or give the server a larger disk")
}

// handleLimit is how many files this process may have open.
func handleLimit() (n uint64, ok bool) {
	var r unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
	return r.Cur, err == nil
}
