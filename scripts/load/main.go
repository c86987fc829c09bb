//go:build unix

// Command load measures the task system under load and prints a table and the machine.
//
//	go run ./scripts/load              # minutes
//	go run ./scripts/load -scale 0.01  # the same rows, smaller, for a test
//
// Clients, API, NATS, PostgreSQL, projector and trainers share one machine, and all but
// PostgreSQL one process: rates are lower bounds. Trainers compute nothing, and speak the
// protocol of real ones.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	scale := flag.Float64("scale", 1, "share of the full numbers of jobs, events and trainers")
	profile := flag.String("cpuprofile", "", "file for a profile of the process")
	heap := flag.String("heapprofile", "", "file for a profile of the heap after the submissions")
	river := flag.Bool("river", false, "measure River's enqueue on the same PostgreSQL too; from the repository's root")
	flag.Parse()
	if err := run(ctx, os.Stdout, options{*scale, *profile, *heap, *river}); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// row is a line of the table.
type row struct {
	name  string
	count int
	value string
	goal  string
}

// options are the command's.
type options struct {
	scale                   float64
	cpuProfile, heapProfile string
	river                   bool
}

// run measures everything in a world of its own.
func run(ctx context.Context, out io.Writer, o options) error {
	if o.cpuProfile != "" {
		f, err := os.Create(o.cpuProfile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	w.heapProfile = o.heapProfile
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "%s, %d threads, load average %s\n", processor(), runtime.NumCPU(), loadAverage())
	fmt.Fprintln(table, "what\tn\tmeasured\tgoal")
	all := []func(context.Context, *world, float64) ([]row, error){pickups, submissions, rebuildJobs, projection, rebuildAll}
	if o.river {
		all = append(all, besideRiver)
	}
	for _, measure := range all {
		rows, err := measure(ctx, w, o.scale)
		if err != nil {
			return err
		}
		for _, r := range rows {
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", r.name, r.count, r.value, r.goal)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
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

// loadAverage is that of the last minute: what else the machine does.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
