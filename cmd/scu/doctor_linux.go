package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/shannon-control/scu/kernels/devices"
)

// Below these a service runs into its limits soon.
const (
	littleDisk  = 5 << 30
	littleFiles = 1024
)

// hostChecks are the machine's memory, disk and limits.
func hostChecks(data string) (checks []look) {
	free, total := devices.CPU(1).Available()
	checks = append(checks, look{What: "memory", OK: true, Found: fmt.Sprintf("%d MiB of %d MiB available", free>>20, total>>20)})

	dir, _ := filepath.Abs(data)
	var fs syscall.Statfs_t
	for ; syscall.Statfs(dir, &fs) != nil && filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
	}
	disk := int64(fs.Bavail) * fs.Bsize
	c := look{What: "disk", OK: disk >= littleDisk, Found: fmt.Sprintf("%.1f GiB free for %s", float64(disk)/(1<<30), data)}
	if !c.OK {
		c.Advice = "models, checkpoints and adapters need room: choose another folder with --data"
	}
	checks = append(checks, c)

	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		c := look{What: "open files", OK: files.Cur >= littleFiles, Found: fmt.Sprintf("at most %d, the hard limit is %d", files.Cur, files.Max)}
		if !c.OK {
			c.Advice = "raise it with ulimit -n, or LimitNOFILE of the service"
		}
		checks = append(checks, c)
	}

	limit := "none"
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if b, err := os.ReadFile(path); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n < 1<<60 {
				limit = fmt.Sprintf("%d MiB", n>>20)
			}
			break
		}
	}
	return append(checks, look{What: "cgroup", OK: true, Found: "memory limit: " + limit})
}
