package broker_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
)

// A job goes through the log and the queue: submitted by the API, claimed and ended by a
// trainer. The trainer acknowledges the job only once it has won its end.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "scu-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{Dir: dir, Rights: broker.Rights, Log: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	b, err := broker.Connect(ctx, broker.Options{Server: server, Log: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	if err := b.Setup(ctx); err != nil {
		log.Fatal(err)
	}

	// The API's side.
	sent := scu.Submission(scu.Job{Name: "my first", Class: "cpu", Config: scu.DefaultConfig()}, time.Now())
	if _, err := b.Submit(ctx, sent); err != nil {
		log.Fatal(err)
	}

	// The trainer's side.
	queue, err := b.Queue(ctx, "trainer-1", []string{"cpu"})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	claim, err := queue.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	id := claim.Job().ID
	job, _, err := b.Append(ctx, id, "trainer-1", func(j scu.Job) (scu.Event, error) {
		return j.Start("trainer-1", time.Now())
	})
	if err != nil {
		log.Fatal(err)
	}
	held, release := claim.Hold(ctx, job.Attempt) // ends early if the job is cancelled
	fmt.Printf("%q is %s in attempt %d, %v\n", job.Name, job.Status, job.Attempt, context.Cause(held))
	release()
	job, _, err = b.Append(ctx, id, "trainer-1", func(j scu.Job) (scu.Event, error) {
		return j.Complete(j.Attempt, scu.Adapter{JobID: id}, time.Now())
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := claim.Ack(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.Status)

	// Nothing follows an end.
	_, _, err = b.Cancel(ctx, id)
	fmt.Println(scu.CodeOf(err))
	// Output:
	// "my first" is running in attempt 1, <nil>
	// completed
	// conflict
}
