package trial

import "golang.org/x/sys/unix"

// boundMemory lets the process have so many bytes of memory of its own. Files that are
// mapped for reading, as weights are, don't count.
func boundMemory(bytes int64) error {
	limit := unix.Rlimit{Cur: uint64(bytes), Max: uint64(bytes)}
	return unix.Setrlimit(unix.RLIMIT_DATA, &limit)
}
