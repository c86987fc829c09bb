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

// submitter is a client whose job is one that the API has seen: model and data are read.
type submitter struct {
	*client.Client
	request client.SubmitRequest
	first   string // the job
}

func (w *world) submitter(ctx context.Context) (*submitter, error) {
	if w.submits != nil {
		return w.submits, nil
	}
	c, err := client.New(w.url, "")
	if err != nil {
		return nil, err
	}
	text := strings.Repeat("Call me Ishmael. Some years ago, never mind how long precisely.\n", 500)
	file, err := w.files.Put(ctx, "load.txt", strings.NewReader(text), 1<<20)
	if err != nil {
		return nil, err
	}
	s := &submitter{Client: c, request: client.SubmitRequest{Name: "load", BaseModel: scu.BuiltInModel, TrainDataPath: file.ID}}
	job, err := c.Submit(ctx, s.request)
	if err != nil {
		return nil, err
	}
	s.first, w.submits = job.JobID, s
	return s, nil
}

// batches submits n jobs in batches, and returns the last one.
func (s *submitter) batches(ctx context.Context, n int) (last string, err error) {
	for n > 0 {
		some := client.BatchRequest{Jobs: slices.Repeat([]client.SubmitRequest{s.request}, min(batchSize, n))}
		out, err := s.SubmitBatch(ctx, some)
		if err != nil {
			return "", err
		}
		n -= len(some.Jobs)
		last = out.Jobs[len(out.Jobs)-1].JobID
	}
	return last, nil
}

// submissions measures single submissions over HTTP, flat out and in batches, what they leave
// in memory, and the status of jobs meanwhile.
func submissions(ctx context.Context, w *world, o options) ([]row, error) {
	n := o.scaled(20_000, clients)
	s, err := w.submitter(ctx)
	if err != nil {
		return nil, err
	}
	before := memory()
	var each times
	stop := w.watchStatus(ctx, s.Client, s.first)
	begin := time.Now()
	var g errgroup.Group
	for k := range clients {
		g.Go(func() error {
			for i := k; i < n; i += clients {
				start := time.Now()
				if _, err := s.Submit(ctx, s.request); err != nil {
					return err
				}
				each.add(time.Since(start))
			}
			return nil
		})
	}
	err = g.Wait()
	all := time.Since(begin)
	status, err := stop(err)
	if err != nil {
		return nil, err
	}
	begin = time.Now()
	if _, err := s.batches(ctx, n); err != nil {
		return nil, err
	}
	batched := time.Since(begin)
	if o.heapProfile != "" {
		if err := writeHeap(o.heapProfile); err != nil {
			return nil, err
		}
	}
	return []row{
		{fmt.Sprintf("submissions in batches of %d, 1 client", min(batchSize, n)), n, rate(n, batched), "5,000/s"},
		{fmt.Sprintf("submissions over HTTP, %d clients flat out", clients), n, rate(n, all) + ", " + quantiles(each.all), "1,000/s"},
		{"status meanwhile", len(status), looks(status), ""},
		{"memory before, after both", 2 * n, before + "; " + memory(), "flat"},
	}, nil
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
