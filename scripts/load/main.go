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
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.Float64Var(&o.scale, "scale", 1, "share of the full numbers of jobs, events and trainers")
	flag.StringVar(&o.cpuProfile, "cpuprofile", "", "file for a profile of the process")
	flag.StringVar(&o.heapProfile, "heapprofile", "", "file for a profile of the heap after the submissions, or with so many queued")
	flag.StringVar(&o.trace, "trace", "", "file for an execution trace")
	flag.StringVar(&o.only, "only", "", "measure only what has a name that begins so: "+names())
	flag.BoolVar(&o.river, "river", false, "measure River's enqueue on the same PostgreSQL too; from the repository's root")
	flag.IntVar(&o.queued, "queued", 0, "measure pickup and status with so many jobs queued too, such as 100000")
	flag.IntVar(&o.followers, "sse", 0, "measure so many clients that follow jobs' events too, such as 1000")
	flag.Parse()
	if err := run(ctx, os.Stdout, o); err != nil {
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
	scale                          float64
	cpuProfile, heapProfile, trace string
	only                           string
	river                          bool
	queued, followers              int
}

// scaled is the share of n that is asked for, and at least least.
func (o options) scaled(n, least int) int { return max(least, int(float64(n)*o.scale)) }

// measurements are what can be measured, in the order in which it is.
var measurements = []struct {
	name    string
	wanted  func(options) bool // nil: always
	measure func(context.Context, *world, options) ([]row, error)
}{
	{"pickups", nil, pickups},
	{"submissions", nil, submissions},
	{"offered", nil, offered},
	{"rebuild-jobs", nil, rebuildJobs},
	{"projection", nil, projection},
	{"rebuild", nil, rebuildAll},
	{"follower", nil, follower},
	{"queued", func(o options) bool { return o.queued > 0 }, queued},
	{"sse", func(o options) bool { return o.followers > 0 }, followers},
	{"river", func(o options) bool { return o.river }, besideRiver},
}

func names() string {
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return strings.Join(all, ", ")
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
	if o.trace != "" {
		f, err := os.Create(o.trace)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := trace.Start(f); err != nil {
			return err
		}
		defer trace.Stop()
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, machine())
	fmt.Fprintln(table, "what\tn\tmeasured\tgoal")
	for _, m := range measurements {
		if m.wanted != nil && !m.wanted(o) || !strings.HasPrefix(m.name, o.only) {
			continue
		}
		rows, err := m.measure(ctx, w, o)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
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
