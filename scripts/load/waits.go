//go:build unix

package main

import (
	"fmt"
	"math"
	"runtime/metrics"
)

// Histograms of the Go runtime, in seconds.
const (
	pauses = "/sched/pauses/total/gc:seconds" // two for each collection
	waits  = "/sched/latencies:seconds"       // of goroutines that could run, for a thread
)

// watchProcess looks at what holds up all of the process at once; tell says it of the time since.
func watchProcess() (tell func() string) {
	before := [2][]uint64{counts(pauses), counts(waits)}
	return func() string {
		n, pause := since(pauses, before[0])
		_, wait := since(waits, before[1])
		return fmt.Sprintf("%d collections, whose pauses' p99 is %.2f ms; a goroutine that could run waits for a thread, p99 %.2f ms", n/2, pause*1e3, wait*1e3)
	}
}

func histogram(name string) *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

func counts(name string) []uint64 { return histogram(name).Counts }

// since is how often something happened since there were so many, and its p99, in seconds.
func since(name string, before []uint64) (n uint64, p99 float64) {
	h := histogram(name)
	for i := range h.Counts {
		h.Counts[i] -= before[i]
		n += h.Counts[i]
	}
	var seen uint64
	for i, count := range h.Counts {
		if seen += count; seen > 0 && float64(seen) >= 0.99*float64(n) {
			if p99 = h.Buckets[i+1]; math.IsInf(p99, 0) {
				p99 = h.Buckets[i]
			}
			return n, p99
		}
	}
	return n, 0
}
