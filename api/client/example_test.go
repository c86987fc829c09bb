package client_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu/api"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
	"github.com/shannon-control/scu/trainer"
	"github.com/shannon-control/scu/trainer/base"
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
			fmt.Printf("step %d of %d\n", m.Step+1, m.Steps)
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
	zip, err := c.DownloadAdapter(ctx, job.JobID, dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	adapter := filepath.Join(dir, "adapter")
	if err := client.Unzip(zip, adapter); err != nil {
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

// serve runs the parts of scu serve in this process.
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
	stored := must(files.Open(dir + "/files"))
	bases := &base.Finder{Dir: dir + "/models"}
	preflight := &trainer.Preflight{Bases: bases, Files: stored, CacheDir: dir}
	web := httptest.NewServer(must(api.New(api.Options{Broker: b, Store: db, Files: stored, Preflight: preflight.Check, Log: quiet})))
	t := must(trainer.New(trainer.Config{
		Name: "t1", Broker: b, Files: stored, Bases: bases, CacheDir: dir + "/cache", CheckpointDir: dir + "/checkpoints", Log: quiet,
		Device: func() (kernels.Device, error) { return cpu.New(2) },
	}))
	done := make(chan error)
	go func() { done <- projector.Run(ctx) }()
	go func() { done <- t.Run(ctx) }()
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

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
