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
	for _, v := range groupVersions {
		v.bound(root, &free, &total)
	}
	return free, total
}

// groups is how a version of control groups tells its limits of memory.
type groups struct {
	line             string // what its line in /proc/self/cgroup has before the group
	top              string // where the groups are mounted
	limit, used      string // files of one number
	inactive, active string // lines of memory.stat: files that can be read again
}

var groupVersions = []groups{
	{":memory:", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"},
	{"0::", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", "active_file"},
}

// bound lowers free and total to the limits of this process's group and of those above
// it, which hold for all that is below them.
func (g groups) bound(root string, free, total *int64) {
	top := filepath.Join(root, g.top)
	for dir := filepath.Join(top, g.own(root)); strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
		limit, limited := number(filepath.Join(dir, g.limit))
		used, known := number(filepath.Join(dir, g.used))
		if limited && known {
			stat := fields(filepath.Join(dir, "memory.stat"))
			*free = min(*free, max(1, limit-used+stat[g.active]+stat[g.inactive]))
		}
		if limited {
			*total = min(*total, limit)
		}
	}
}

// own is the path of this process's group.
func (g groups) own(root string) string {
	b, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(b)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), g.line); ok {
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
