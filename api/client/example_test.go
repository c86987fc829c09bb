package client_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
)

// A training run from upload to adapter. The server is any that runs scu serve.
func Example() {
	ctx := context.Background()
	url, stop := serve()
	defer stop()

	c, err := client.New(url, "") // the second is the server's API key
	if err != nil {
		log.Fatal(err)
	}
	text := strings.Repeat("The keeper lit the lamp and wrote the weather down. ", 40)
	data, err := c.Upload(ctx, "log.txt", strings.NewReader(text), int64(len(text)), nil)
	if err != nil {
		log.Fatal(err)
	}
	job, err := c.Submit(ctx, client.SubmitRequest{
		BaseModel: "bookworm-2m", TrainDataPath: data.ID, Name: "keeper",
		ConfigOverrides: map[string]any{"steps": 3, "block_size": 128, "lora": map[string]any{"r": 2, "alpha": 4}},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = c.Watch(ctx, job.JobID, -1, func(e client.Event) error {
		if m := e.Metrics; m != nil {
			fmt.Printf("step %d of %d\n", m.Step, m.Steps)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	status, err := c.Status(ctx, job.JobID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Status)

	dir, err := os.MkdirTemp("", "scu-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, err := c.DownloadAdapter(ctx, job.JobID, dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	adapter := filepath.Join(dir, "adapter")
	if err := client.Unzip(path, adapter); err != nil {
		log.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(adapter, "adapter_model.safetensors"))
	fmt.Println(err)
	// Output:
	// step 1 of 3
	// step 2 of 3
	// step 3 of 3
	// completed
	// <nil>
}

// serve runs the parts of scu serve in this process, with a trainer that only acts as
// one: it tells of three steps and stores an adapter.
func serve() (url string, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	quiet := slog.New(slog.DiscardHandler)
	dir := must(os.MkdirTemp("", "scu-serve-"))
	server := must(embedded.Start(embedded.Config{Dir: dir + "/nats", Rights: broker.Rights, Log: quiet}))
	b := must(broker.Connect(ctx, broker.Options{Server: server, Log: quiet}))
	if err := b.Setup(ctx); err != nil {
		log.Fatal(err)
	}
	db := must(sqlite.Open(ctx, dir+"/scu.db"))
	projector := store.NewProjector(db, b, store.ProjectorOptions{Log: quiet})
	web := httptest.NewServer(must(api.New(api.Options{
		Broker: b, Store: db, Files: must(files.Open(dir + "/files")), Log: quiet,
		Preflight: func(context.Context, *scu.Config, scu.Sources, *scu.File) scu.Validation {
			return scu.Validation{Class: "cpu"}
		},
	})))
	done := make(chan error)
	go func() { done <- projector.Run(ctx) }()
	go func() { done <- act(ctx, b) }()
	return web.URL, func() {
		web.Close()
		cancel()
		<-done
		<-done
		db.Close()
		b.Close()
		server.Close()
		os.RemoveAll(dir)
	}
}

// act takes one job and ends it, as a trainer does.
func act(ctx context.Context, b *broker.Broker) error {
	const name = "t1"
	queue, err := b.Queue(ctx, name, []string{"cpu"})
	if err != nil {
		return err
	}
	defer queue.Close()
	claim, err := queue.Next(ctx)
	if err != nil {
		return err
	}
	id := claim.Job().ID
	j, _, err := b.Append(ctx, id, name, func(j scu.Job) (scu.Event, error) { return j.Start(name, time.Now()) })
	if err != nil {
		return err
	}
	for step := range *j.Config.Steps {
		m := scu.Metrics{JobID: id, Attempt: j.Attempt, Step: step + 1, Steps: *j.Config.Steps, Timestamp: time.Now()}
		if err := b.PublishMetrics(ctx, name, m); err != nil {
			return err
		}
	}
	if err := b.FlushMetrics(ctx); err != nil {
		return err
	}
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	if _, err := z.Create("adapter_model.safetensors"); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	size, sum, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: j.Attempt}, &zipped)
	if err != nil {
		return err
	}
	_, _, err = b.Append(ctx, id, name, func(j scu.Job) (scu.Event, error) {
		return j.Complete(j.Attempt, scu.Adapter{JobID: id, Size: size, SHA256: sum}, time.Now())
	})
	if err != nil {
		return err
	}
	return claim.Ack()
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
