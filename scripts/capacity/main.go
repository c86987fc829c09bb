// Command capacity says what a number of trainers and jobs takes, from measured costs, and
// which part is full first.
//
//	go run ./scripts/capacity -trainers 1000 -jobs 1000000
//
// docs/scale.md explains the model.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

func main() {
	var l load
	flag.IntVar(&l.trainers, "trainers", 1000, "trainers")
	flag.Float64Var(&l.jobs, "jobs", 1e6, "jobs a day")
	flag.Float64Var(&l.steps, "steps", 100, "steps of a job")
	flag.Float64Var(&l.seconds, "seconds", 60, "seconds that a job takes on a trainer")
	flag.Float64Var(&l.days, "days", 7, "days that jobs and their steps are kept")
	flag.IntVar(&l.classes, "classes", 4, "resource classes")
	flag.IntVar(&l.levels, "levels", 3, "priorities in use")
	flag.IntVar(&l.owners, "owners", 5, "owners who have jobs in the queue at once")
	flag.IntVar(&l.replicas, "replicas", 3, "copies of each stream")
	flag.Float64Var(&l.peak, "peak", 3, "busiest minute over the mean")
	flag.Parse()
	l.print(os.Stdout)
}

// load is what the system is to carry.
type load struct {
	trainers                  int
	jobs, steps, seconds      float64 // a day; of a job; of a job on a trainer
	days, peak                float64
	classes, levels, replicas int
	owners                    int
}

// consumers are those of the queue: a class, a priority and an owner each, as long as the owner
// has jobs and for an hour after.
func (l load) consumers() int { return l.classes * l.levels * l.owners }

// Measured costs and ceilings, on two shared cores: see docs/scale.md.
const (
	entriesOfJob  = 11       // entries of the log, from submission to end, five of them of checkpoints
	bytesOfEntry  = 2460     // in the log
	bytesOfStep   = 645      // in the metrics stream
	rowOfStep     = 281      // bytes in PostgreSQL, index included
	rowOfJob      = 2718     // bytes in PostgreSQL, indices included
	presenceEvery = 5        // seconds
	consumerBytes = 15 << 10 // memory of an idle consumer
	claimSeconds  = 960e-6   // of a claim
	listSeconds   = 67.5e-6  // more for each consumer of the queue, which a claim lists

	appendCeiling  = 14_200 // entries a second into one stream
	submitCeiling  = 2_600  // single submissions a second to one API process
	stepsCeiling   = 74_000 // steps a second into PostgreSQL, one projector
	jobsCeiling    = 13_400 // entries a second into the table of jobs, one projector
	metricsCeiling = 78_000 // publishes a second into the metrics stream
	consumersMost  = 10_000 // that a stream of ours allows
	diskCeiling    = 100e6  // bytes a second that one disk takes
)

// use is how much of a part is used, in the busiest minute.
type use struct {
	part          string
	needs, bounds float64
	unit          string
	moves         string // what moves the bound
}

const day = 86400.0

// uses is what each part has to do.
func (l load) uses() []use {
	jobs := l.jobs / day * l.peak
	entries, steps := jobs*entriesOfJob, jobs*l.steps
	pulses := float64(l.trainers) / presenceEvery
	bytes := (entries*bytesOfEntry + steps*bytesOfStep) * float64(l.replicas)
	return []use{
		{"trainers' time", l.jobs * l.seconds / day, float64(l.trainers), "trainers", "more trainers"},
		{"submissions", jobs, submitCeiling, "jobs/s", "more API processes; they share nothing"},
		{"presence", pulses, appendCeiling, "entries/s", "a longer time between signs of life"},
		{"state log", entries, appendCeiling, "entries/s", "one log for each class, on leaders of its own"},
		{"metrics stream", steps, metricsCeiling, "steps/s", "one stream for each class"},
		{"queue: claims", jobs, 1 / (claimSeconds + listSeconds*float64(l.consumers())), "claims/s", "a stream for each class, and so fewer consumers that a claim lists"},
		{"queue: consumers", float64(l.consumers()), consumersMost, "consumers", "a stream for each class"},
		{"read model: steps", steps, stepsCeiling, "rows/s", "one projector for each stream, partitioned tables"},
		{"read model: jobs", entries, jobsCeiling, "rows/s", "one projector for each stream"},
		{"disks of NATS, together", bytes, diskCeiling * float64(l.replicas), "bytes/s", "disks of their own for each stream's leader"},
	}
}

// full is the share of a part that is used.
func (u use) full() float64 { return u.needs / u.bounds }

func (l load) print(w io.Writer) {
	uses := l.uses()
	slices.SortFunc(uses, func(a, b use) int { return cmp.Compare(b.full(), a.full()) })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "part, in the busiest minute\tneeds\tmeasured bound\tused\tunit\twhat moves it")
	for _, u := range uses {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f%%\t%s\t%s\n", u.part, u.needs, u.bounds, 100*u.full(), u.unit, u.moves)
	}
	t.Flush()
	kept := l.jobs * l.days
	gib := func(bytes float64) float64 { return bytes / (1 << 30) }
	fmt.Fprintf(w, "\nkept for %.0f days: %.0f rows of jobs and %.0f of steps\n", l.days, kept, kept*l.steps)
	fmt.Fprintf(w, "state log   %8.0f GiB, %d copies\n", gib(kept*entriesOfJob*bytesOfEntry*float64(l.replicas)), l.replicas)
	fmt.Fprintf(w, "metrics     %8.0f GiB, %d copies\n", gib(kept*l.steps*bytesOfStep*float64(l.replicas)), l.replicas)
	fmt.Fprintf(w, "PostgreSQL  %8.0f GiB\n", gib(kept*(rowOfJob+l.steps*rowOfStep)))
	fmt.Fprintf(w, "consumers   %8d of the queue, %d KiB of memory\n", l.consumers(), l.consumers()*consumerBytes>>10)
	first := uses[0]
	if first.full() > 1 {
		fmt.Fprintf(w, "\nIt doesn't fit: %s is the first wall, at %.1f times its bound. What moves it: %s.\n", first.part, first.full(), first.moves)
		return
	}
	fmt.Fprintf(w, "\nIt fits. The first wall is %s, at %.1f times this load. What moves it: %s.\n", first.part, 1/first.full(), first.moves)
}
