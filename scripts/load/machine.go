//go:build unix

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/shannon-control/scu/api"
)

// machine names the processor, its threads, the memory, and what else the machine does.
func machine() string {
	return fmt.Sprintf("%s, %d threads, %d GiB, load average %s", processor(), runtime.NumCPU(), memoryKiB("/proc/meminfo", "MemTotal")>>20, loadAverage())
}

// processor is its name, as Linux tells it.
func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// loadAverage is that of the last minute.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// memoryKiB is the value of a line of one of Linux's files, 0 if there is none.
func memoryKiB(file, line string) (n int) {
	b, _ := os.ReadFile(file)
	for l := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			fmt.Sscan(value, &n)
		}
	}
	return n
}

// openFiles is how many files the process has open.
func openFiles() int {
	all, _ := os.ReadDir("/proc/self/fd")
	return len(all)
}

// liveBytes is what is live on the heap, after a collection, without what the API counts as live.
func liveBytes() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc) - api.HeapFloor
}

// memory is what the process has: live on its heap, and resident.
func memory() string {
	return fmt.Sprintf("%d MiB live, %d MiB resident", liveBytes()>>20, memoryKiB("/proc/self/status", "VmRSS")>>10)
}
