//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// clients submit side by side.
const clients = 16

// batchSize is the jobs of a batch.
const batchSize = 500

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
	batch := client.BatchRequest{Jobs: slices.Repeat([]client.SubmitRequest{request}, min(batchSize, n))}
	begin = time.Now()
	for range max(1, n/batchSize) {
		if _, err := c.SubmitBatch(ctx, batch); err != nil {
			return nil, err
		}
	}
	inBatches, batched := max(1, n/batchSize)*len(batch.Jobs), time.Since(begin)
	if w.heapProfile != "" {
		if err := writeHeap(w.heapProfile); err != nil {
			return nil, err
		}
	}
	return []row{
		{fmt.Sprintf("submissions in batches of %d, 1 client", len(batch.Jobs)), inBatches, rate(inBatches, batched), "5,000/s"},
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
		_ = scu.Sleep(ctx, 5*time.Millisecond)
	}
	return nil
}

// writeHeap writes a profile of what holds the heap.
func writeHeap(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	runtime.GC()
	return pprof.WriteHeapProfile(f)
}

// heap is what the process has on its heap, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
