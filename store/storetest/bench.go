package storetest

import (
	"fmt"
	"testing"

	"github.com/shannon-control/scu"
)

// Benchmark projects metrics of eight jobs at once, in batches of 500 and 5,000.
func Benchmark(b *testing.B, create func(b *testing.B) Database) {
	for _, size := range []int{500, 5000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := Open(b, create(b))
			batch := scu.Batch{Metrics: make([]scu.MetricsEntry, size)}
			for b.Loop() {
				MetricsBatch(batch.Metrics, int(batch.To.Metrics))
				batch.From = batch.To
				batch.To.Metrics += uint64(size)
				if err := s.Project(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(batch.To.Metrics)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkJobs projects the lives of jobs, in batches of 1,000 entries: each is queued,
// started, trains and ends, 500 jobs side by side.
func BenchmarkJobs(b *testing.B, create func(b *testing.B) Database) {
	const size, jobs = 1000, 500
	s := Open(b, create(b))
	statuses := []scu.Status{scu.Queued, scu.Running, scu.Running, scu.Completed}
	var at scu.Position
	for b.Loop() {
		batch := scu.Batch{From: at, To: at}
		for range size {
			n := int(batch.To.State)
			batch.To.State++
			life := n / jobs
			j := newJob(n%jobs + life/len(statuses)*jobs)
			j.Status = statuses[life%len(statuses)]
			batch.State = append(batch.State, entry(batch.To.State, j))
		}
		at = batch.To
		if err := s.Project(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(at.State)/b.Elapsed().Seconds(), "entries/s")
}

// MetricsBatch fills entries with the steps that follow the first done ones.
func MetricsBatch(entries []scu.MetricsEntry, done int) {
	const jobs = 8
	for i := range entries {
		n := done + i
		entries[i] = scu.MetricsEntry{Seq: uint64(n + 1), Metrics: step(n%jobs, 1, n/jobs, 1e6)}
	}
}

// BenchmarkReads times what the API asks most, of 200 jobs with 1,000 steps each.
func BenchmarkReads(b *testing.B, create func(b *testing.B) Database) {
	const jobs, steps = 200, 1000
	s := Open(b, create(b))
	var at scu.Position
	for n := range jobs {
		batch := scu.Batch{From: at, To: scu.Position{State: at.State + 1, Metrics: at.Metrics + steps}}
		batch.State = []scu.LogEntry{entry(batch.To.State, newJob(n))}
		for k := range steps {
			batch.Metrics = append(batch.Metrics, scu.MetricsEntry{Seq: at.Metrics + uint64(k) + 1, Metrics: step(n, 1, k, steps)})
		}
		if err := s.Project(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		at = batch.To
	}
	for _, read := range []struct {
		name string
		run  func() error
	}{
		{"Job", func() error { _, _, err := s.Job(b.Context(), jobID(7)); return err }},
		{"Jobs/50", func() error { _, err := s.Jobs(b.Context(), scu.JobFilter{Status: scu.Queued}); return err }},
		{"Latest", func() error { _, err := s.Latest(b.Context(), jobID(7)); return err }},
		{"Metrics/1000", func() error { _, _, err := s.Metrics(b.Context(), jobID(7), scu.StepPage{AfterStep: 0}); return err }},
		{"Counts", func() error { _, err := s.Counts(b.Context(), ""); return err }},
		{"Positions", func() error { _, err := s.Position(b.Context()); return err }},
	} {
		b.Run(read.name, func(b *testing.B) {
			for b.Loop() {
				if err := read.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
