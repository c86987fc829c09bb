//go:build linux || darwin

package main

import "golang.org/x/sys/unix"

// diskRoom is how many bytes of a folder's disk are free for this user, and how many it has.
func diskRoom(dir string) (free, size uint64, ok bool) {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	block := uint64(fs.Bsize)
	return fs.Bavail * block, fs.Blocks * block, err == nil
}

// handleLimit is how many files this process may have open.
func handleLimit() (n uint64, ok bool) {
	var r unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
	return r.Cur, err == nil
}
