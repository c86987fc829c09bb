package main

import "github.com/shannon-control/scu"

// The room that is kept for the jobs that are here: their checkpoints, adapters and log.
const (
	keptBytes = 1 << 30
	keptShare = 20 // at most one in so many of the disk's bytes
)

// roomIn returns an error if the disk of a folder has no more room than is kept.
func roomIn(dir string) error { return roomFor(dir, 1) }

// roomForCheckpoints returns one if half of that is gone: the other half isn't theirs, since a
// full disk would let nobody delete what fills it, which is an entry of the log.
func roomForCheckpoints(dir string) error { return roomFor(dir, 2) }

func roomFor(dir string, part uint64) error {
	free, size, ok := diskRoom(dir)
	kept := min(keptBytes, size/keptShare) / part
	if !ok || free >= kept { // of one that isn't known, who writes there is told
		return nil
	}
	return scu.Errorf(scu.CodeStorage, "the disk is nearly full: %d MiB are free, and %d MiB are kept for the jobs that are here", free>>20, kept>>20).
		WithHint("delete jobs and files, or give the server a larger disk")
}
