package main

import "github.com/shannon-control/scu"

// The room that is kept for the jobs that are here: their checkpoints, adapters and log.
const (
	keptBytes = 1 << 30
	keptShare = 20 // at most one in so many of the disk's bytes
)

// roomForJobs tells whether so many bytes of a job's checkpoint or adapter would leave less than
// half of it on the disk of a folder. The rest is the log's: on a full disk nobody could delete what
// fills it, since that is an entry of the log.
func (p *process) roomForJobs(dir string) func(bytes int64) error {
	return func(bytes int64) error { return p.roomBeside(dir, 2, uint64(bytes)) }
}

// storeRoom is roomForJobs where this machine has the disk that adapters and shared checkpoints go to;
// nil where it hasn't.
func (p *process) storeRoom() func(bytes int64) error {
	if path, ok := p.set.blobsDir(); ok {
		return p.roomForJobs(path)
	}
	if p.set.Blobs != "" && p.set.Blobs != natsBlobs || p.nats == nil && !p.beside {
		return nil
	}
	return p.roomForJobs(p.set.Data) // of NATS
}

// roomBeside returns an error if so many bytes more would leave the disk of a folder less than one in so
// many parts of what is kept.
func (p *process) roomBeside(dir string, part, bytes uint64) error {
	free, size, ok := p.disk(dir)
	kept := min(keptBytes, size/keptShare) / part
	if !ok || free >= kept+bytes { // of one that isn't known, who writes there is told
		return nil
	}
	return scu.Errorf(scu.CodeStorage, "the disk is nearly full: %d MiB are free, and %d MiB are kept for the jobs that are here", free>>20, kept>>20).
		WithHint("delete jobs and files, or give the server a larger disk")
}
