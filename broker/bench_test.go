package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/embedded"
)

// BenchmarkSubmitToClaim is the time from a submission until an idle trainer holds
// the job.
func BenchmarkSubmitToClaim(b *testing.B) {
	br := newBroker(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	q := openQueue(b, br, "t1")
	got := make(chan *claim)
	go claims(ctx, q, got)
	for b.Loop() {
		waitIdle(b, q)
		if _, err := br.Submit(ctx, newJob(0)); err != nil {
			b.Fatal(err)
		}
		c := <-got
		b.StopTimer()
		if err := c.Ack(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkSubmit is the time of a submission, alone and with 16 at once.
func BenchmarkSubmit(b *testing.B) {
	for _, at := range []int{1, 16} {
		b.Run(fmt.Sprint(at), func(b *testing.B) {
			br := newBroker(b)
			b.ResetTimer()
			var all sync.WaitGroup
			for w := range at {
				all.Go(func() {
					for i := w; i < b.N; i += at {
						if _, err := br.Submit(context.Background(), newJob(0)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

// BenchmarkJob is the time to read a job's state.
func BenchmarkJob(b *testing.B) {
	br := newBroker(b)
	id := submit(b, br, 0)
	for b.Loop() {
		if _, _, err := br.Job(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClaim is the time to take and finish a job where one trainer works off
// a long queue, by the number of levels in use.
func BenchmarkClaim(b *testing.B) {
	for _, levels := range []int{1, 20, 201} {
		b.Run(fmt.Sprint(levels), func(b *testing.B) {
			br := newBroker(b)
			for i := range b.N {
				submit(b, br, scu.MinPriority+i%levels)
			}
			for l := range levels {
				if err := br.ensureLevel(context.Background(), level{class: "cpu", priority: scu.MinPriority + l}); err != nil {
					b.Fatal(err)
				}
			}
			q := openQueue(b, br, "t1")
			b.ResetTimer()
			for range b.N {
				if err := next(b, q).Ack(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMetrics is the rate at which a trainer's steps are stored.
func BenchmarkMetrics(b *testing.B) {
	br := newBroker(b)
	id := scu.NewJobID()
	b.ResetTimer()
	publishSteps(b, br, id, 1, 0, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "steps/s")
}

// BenchmarkFollow is the rate at which a projector can read a backlog.
func BenchmarkFollow(b *testing.B) {
	br := newBroker(b)
	publishSteps(b, br, scu.NewJobID(), 1, 0, b.N)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ResetTimer()
	n := 0
	br.Follow(ctx, scu.Position{}, func(next scu.Batch) error {
		if n += len(next.Metrics); n >= b.N {
			cancel()
		}
		return nil
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "steps/s")
}

// BenchmarkStart is the time until a new server is ready and set up.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s, err := embedded.Start(embedded.Config{Rights: Rights, Dir: b.TempDir(), Log: silent})
		if err != nil {
			b.Fatal(err)
		}
		setUp(b, s).Close()
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}

// BenchmarkAdapter is the time to store and to read 10 MiB.
func BenchmarkAdapter(b *testing.B) {
	br := newBroker(b)
	zip := randomBytes(10 << 20)
	id := scu.NewJobID()
	ctx := context.Background()
	b.Run("put", func(b *testing.B) {
		b.SetBytes(int64(len(zip)))
		for b.Loop() {
			if _, _, err := br.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1}, bytes.NewReader(zip)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		b.SetBytes(int64(len(zip)))
		for b.Loop() {
			r, _, err := br.GetAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1})
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != int64(len(zip)) {
				b.Fatal(n, err)
			}
			r.Close()
		}
	})
}
