package cpu

import (
	"os"
	"path/filepath"
	"testing"
)

// What is available is the system's, and no more than the control groups leave.
func TestAvailable(t *testing.T) {
	const kB = 1 << 10
	system := func(files map[string]string) string {
		root := t.TempDir()
		for name, text := range files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	const meminfo = "MemTotal:       16000 kB\nMemFree:         900 kB\nMemAvailable:    8000 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no /proc":    {nil, 0},
		"no groups":   {map[string]string{"proc/meminfo": meminfo}, 8000 * kB},
		"no number":   {map[string]string{"proc/meminfo": "MemAvailable: many kB\n"}, 0},
		"no limit":    {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "77\n"}, 8000 * kB},
		"a container": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5000000\n", "sys/fs/cgroup/memory.current": "3000000\n", "sys/fs/cgroup/memory.stat": "anon 100\nactive_file 200\ninactive_file 500\n"}, 2_000_700},
		"a limit above": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "1:memory:/x\n0::/a/b\n", "sys/fs/cgroup/a/memory.max": "5000000\n", "sys/fs/cgroup/a/memory.current": "3000000\n",
			"sys/fs/cgroup/a/b/memory.max": "9000000", "sys/fs/cgroup/a/b/memory.current": "1000000"}, 2_000_000},
		"nothing left": {map[string]string{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": "5000\n", "sys/fs/cgroup/memory.current": "5100\n"}, 1},
		"version 1": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "5000000\n",
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "3000000\n", "sys/fs/cgroup/memory/a/memory.stat": "inactive_file 1\ntotal_active_file 200\ntotal_inactive_file 500\n"}, 2_000_700},
		"version 1 without a limit": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "3000000\n"}, 8000 * kB},
		"version 1 in a container, whose group has the path of its host": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/docker/c0ffee\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "5000000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "3000000\n"}, 2_000_000},
		"a group outside": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../etc\n"}, 8000 * kB},
	} {
		if got, _ := available(system(c.files)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
