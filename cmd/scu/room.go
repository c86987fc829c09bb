package main

import "github.com/shannon-control/scu"

// The room that is kept for the jobs that are here: their checkpoints, adapters and log.
const (
	keptBytes = 1 << 30
	keptShare = 20 // at most one in so many of the disk's bytes
)

// roomIn returns an error if the disk of a folder has no more room than is kept.
func roomIn(dir string) error { return roomBeside(dir, 1, 0) }

// roomForJobs returns one if so many bytes of a job's checkpoint or adapter would leave less than
// half of it. The rest is the log's: on a full disk nobody could delete what fills it, since
// that is an entry of the log.
func roomForJobs(dir string, bytes int64) error { return roomBeside(dir, 2, uint64(bytes)) }

func roomBeside(dir string, part, bytes uint64) error {
	free, size, ok := diskRoom(dir)
	kept := min(keptBytes, size/keptShare) / part
	if !ok || free >= kept+bytes { // of one that isn't known, who writes there is told
		return nil
	}
	return scu.Errorf(scu.CodeStorage, "the disk is nearly full: %d MiB are free, and %d MiB are kept for the jobs that are here", free>>20, kept>>20).
		WithHint("delete jobs and files, or give the server a larger disk")
}
