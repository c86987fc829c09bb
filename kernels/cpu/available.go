package cpu

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Available is what the machine can give this process without swapping: what the
// system has, and no more than a container's limit leaves.
func (m *memory) Available() (free, total int64) { return Available() }

// Available is Available of a device here.
func Available() (free, total int64) { return available("/") }

// available is Available of the system whose files are below a folder.
func available(root string) (free, total int64) {
	info := fields(filepath.Join(root, "proc/meminfo"))
	free, total = info["MemAvailable:"]<<10, info["MemTotal:"]<<10
	if free == 0 {
		return 0, total
	}
	// The limits of control groups (version 2) hold for all that is below them.
	top := filepath.Join(root, "sys/fs/cgroup")
	for dir := filepath.Join(top, ownGroup(root)); strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
		limit, limited := number(filepath.Join(dir, "memory.max"))
		used, known := number(filepath.Join(dir, "memory.current"))
		if limited && known {
			stat := fields(filepath.Join(dir, "memory.stat"))
			free = min(free, max(1, limit-used+stat["active_file"]+stat["inactive_file"])) // files can be read again
		}
		if limited {
			total = min(total, limit)
		}
	}
	return free, total
}

// ownGroup is the path of this process's control group of version 2.
func ownGroup(root string) string {
	b, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Clean("/" + path)
		}
	}
	return "/"
}

// fields reads a file of lines that are a name, a number and perhaps a unit.
func fields(path string) map[string]int64 {
	all := map[string]int64{}
	f, err := os.Open(path)
	if err != nil {
		return all
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if parts := strings.Fields(s.Text()); len(parts) >= 2 {
			if n, err := strconv.ParseInt(parts[1], 10, 64); err == nil {
				all[parts[0]] = n
			}
		}
	}
	return all
}

// number reads a file of one number.
func number(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
