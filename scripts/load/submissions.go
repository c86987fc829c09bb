//go:build unix

package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// clients submit side by side.
const clients = 16

// submissions measures single submissions over HTTP, what they leave in memory, and the
// status of jobs meanwhile.
func submissions(ctx context.Context, w *world, scale float64) ([]row, error) {
	n := max(clients, int(20_000*scale))
	c, err := client.New(w.url, "")
	if err != nil {
		return nil, err
	}
	text := strings.Repeat("Call me Ishmael. Some years ago, never mind how long precisely.\n", 500)
	file, err := w.files.Put(ctx, "load.txt", strings.NewReader(text), 1<<20)
	if err != nil {
		return nil, err
	}
	request := client.SubmitRequest{Name: "load", BaseModel: scu.BuiltInModel, TrainDataPath: file.ID}
	job, err := c.Submit(ctx, request) // reads model and data
	if err != nil {
		return nil, err
	}
	before := heap()
	took := make([][]time.Duration, clients)
	var status []time.Duration
	asking, enough := context.WithCancel(ctx)
	asked := make(chan error, 1)
	go func() { asked <- ask(asking, c, job.JobID, &status) }()
	begin := time.Now()
	var g errgroup.Group
	for k := range clients {
		g.Go(func() error {
			for i := k; i < n; i += clients {
				start := time.Now()
				if _, err := c.Submit(ctx, request); err != nil {
					return err
				}
				took[k] = append(took[k], time.Since(start))
			}
			return nil
		})
	}
	err = g.Wait()
	all := time.Since(begin)
	enough()
	if e := <-asked; err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	var each []time.Duration
	for _, t := range took {
		each = append(each, t...)
	}
	return []row{
		{"submissions over HTTP, 16 clients", n, rate(n, all) + ", " + quantiles(each), "1,000/s"},
		{"status meanwhile", len(status), quantiles(status), "p99 5 ms"},
		{"heap of the process", n, fmt.Sprintf("%d to %d MiB", before>>20, heap()>>20), "flat"},
	}, nil
}

// ask asks for a job's status until ctx ends.
func ask(ctx context.Context, c *client.Client, job string, took *[]time.Duration) error {
	for ctx.Err() == nil {
		start := time.Now()
		if _, err := c.Status(ctx, job); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		*took = append(*took, time.Since(start))
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// heap is what the process has on its heap, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
