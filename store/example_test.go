package store_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
	"github.com/shannon-control/scu/store/storetest"
)

// A projector keeps a read model at the end of the log, here one in memory; what has
// been projected can be listed.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "scu-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sqlite.Open(ctx, filepath.Join(dir, "scu.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	feed := storetest.NewLog() // a service's is its broker
	projector := store.NewProjector(db, feed, store.ProjectorOptions{Log: slog.New(slog.DiscardHandler)})
	done := make(chan error)
	go func() { done <- projector.Run(ctx) }()

	job := scu.Submission(scu.Job{Name: "my first", Class: "cpu"}, time.Now()).Job
	feed.AddJob(job)
	running, err := job.Start("trainer-1", time.Now())
	if err != nil {
		log.Fatal(err)
	}
	feed.AddJob(running.Job)
	end := feed.AddStep(scu.Metrics{JobID: job.ID, Attempt: 1, Step: 4, Steps: 10, Loss: 2.5, Timestamp: time.Now()})

	if err := projector.WaitFor(ctx, end); err != nil {
		log.Fatal(err)
	}
	jobs, err := db.Jobs(ctx, scu.JobFilter{Status: scu.Running})
	if err != nil {
		log.Fatal(err)
	}
	for _, j := range jobs {
		fmt.Printf("%s: step %d of %d, %g%%\n", j.Job.Name, j.Progress.Step, j.Progress.Steps, j.Progress.Percent)
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// my first: step 4 of 10, 40%
	// <nil>
}
