package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// sizes of disks in MB; a JetStream server takes three quarters of its own, and keeps the
// checkpoints of all jobs.
var sizes = map[string]int{"nats": 1536, "postgres": 256, "api": 96, "projector": 16, "trainer": 128}

// natsGrows is more than what NATS's disk needs a minute, MB: a long run's adapters filled it.
const natsGrows = 80

// disks are small file systems, one for each service.
type disks struct {
	t  testing.TB
	at map[string]string // by service
}

// newDisks reports whether this machine lets us mount.
func newDisks(t testing.TB) (d disks, ok bool) {
	d = disks{t, map[string]string{}}
	return d, d.mount("trial", t.TempDir()) == nil
}

// mount puts a small disk at dir until the test ends.
func (d disks) mount(service, dir string) error {
	size := max(1, sizes[kindOf(service)])
	if kindOf(service) == "nats" {
		size = max(size, natsGrows*int(chaosTime.Minutes()))
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=755", size)); err != nil {
		return err
	}
	d.at[service] = dir
	d.t.Cleanup(func() {
		syscall.Unmount(dir, syscall.MNT_DETACH)
		os.RemoveAll(dir)
	})
	return nil
}

// fill leaves no room on a service's disk; the returned function does.
func (d disks) fill(service string) (empty func(), err error) {
	path := filepath.Join(d.at[service], "filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			return nil, err
		}
	}
	return func() { os.Remove(path) }, nil
}
