package store_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
	"github.com/shannon-control/scu/store/storetest"
)

// startBroker starts a server and connects to it: as the API does, and plainly.
func startBroker(t *testing.T) (*broker.Broker, *nats.Conn) {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{Rights: broker.Rights, Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	b, err := broker.Connect(t.Context(), broker.Options{Server: server, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain, err := nats.Connect(server.UserURL(broker.OperatorUser))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	return b, plain
}

func openStore(t *testing.T) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "scu.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestBroker projects from a real broker: what is submitted and measured can be
// read, what others wrote into the streams is passed over, a rebuild gives the
// same, and a store that has seen another log says so.
func TestBroker(t *testing.T) {
	ctx := t.Context()
	b, plain := startBroker(t)
	s := openStore(t)
	p := store.NewProjector(s, b, storetest.Options())
	storetest.Start(t, p)

	job := scu.Job{BaseModel: "bookworm-2m", Config: scu.DefaultConfig(), Class: "cpu"}
	submitted := scu.Submission(job, time.Now())
	id := submitted.Job.ID
	if _, err := b.Submit(ctx, submitted); err != nil {
		t.Fatal(err)
	}
	stranger := scu.NewJobID()
	for _, subject := range []string{"scu.state." + stranger + ".api.phase", "scu.metrics." + id + ".one"} {
		for _, data := range []string{"", "{", `{"job_id":"x","job":{"job_id":"x"}}`} {
			if _, err := plain.Request(subject, []byte(data), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	const steps = 30
	for n := range steps {
		if err := b.PublishMetrics(ctx, "one", scu.Metrics{JobID: id, Attempt: 1, Step: n + 1, Steps: steps, Timestamp: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.FlushMetrics(ctx); err != nil {
		t.Fatal(err)
	}

	check := func() {
		t.Helper()
		end, err := b.End(ctx)
		if err != nil {
			t.Fatal(err)
		}
		storetest.WaitFor(t, p, end)
		got, progress, err := s.Job(ctx, id)
		if err != nil || !reflect.DeepEqual(got, submitted.Job) {
			t.Fatalf("got %+v, %v; want %+v", got, err, submitted.Job)
		}
		if want := (scu.Progress{Step: steps, Steps: steps, Percent: 99.9}); progress != want {
			t.Fatalf("progress %+v, want %+v", progress, want)
		}
	}
	check()
	if p.Skipped() != 6 {
		t.Errorf("%d entries skipped, want 6", p.Skipped())
	}
	if err := p.Rebuild(ctx); err != nil {
		t.Fatal(err)
	}
	check()

	other, _ := startBroker(t)
	if err := store.NewProjector(s, other, storetest.Options()).Run(ctx); !errors.Is(err, scu.ErrOtherLog) {
		t.Errorf("with another log: %v, want ErrOtherLog", err)
	}
}

// rival is a store in which another projector is at work for the first batches.
type rival struct {
	store.Store
	batches int
	large   bool // the first look has no end
	checks  atomic.Int32
}

func (r *rival) Project(ctx context.Context, b scu.Batch) error {
	if r.batches--; r.batches >= 0 {
		return store.ErrFenced
	}
	return r.Store.Project(ctx, b)
}

func (r *rival) Check(ctx context.Context) error {
	if r.checks.Add(1) == 1 && r.large {
		<-ctx.Done()
		return ctx.Err()
	}
	return r.Store.Check(ctx)
}

// A projector that is fenced again and again doesn't read the whole model each time.
func TestFencedProjectorChecksNoMoreOften(t *testing.T) {
	s, l := &rival{Store: openStore(t), batches: 20}, storetest.NewLog()
	end := storetest.Fill(l, 3)
	p := store.NewProjector(s, l, storetest.Options())
	storetest.Start(t, p)
	storetest.WaitFor(t, p, end)
	if n := s.checks.Load(); n != 1 {
		t.Errorf("it looked for damage %d times, want once", n)
	}
}

// Nor does it if the first look wasn't enough: one more, beside, is all.
func TestFencedProjectorOfALargeModelChecksNoMoreOften(t *testing.T) {
	s, l := &rival{Store: openStore(t), batches: 20, large: true}, storetest.NewLog()
	end := storetest.Fill(l, 3)
	o := storetest.Options()
	o.FirstLook = time.Millisecond
	p := store.NewProjector(s, l, o)
	storetest.Start(t, p)
	storetest.WaitFor(t, p, end)
	if n := s.checks.Load(); n > 2 {
		t.Errorf("it looked for damage %d times, want twice", n)
	}
}

// large is a store that is too large to be looked over before the projector begins.
type large struct {
	store.Store
	looks   atomic.Int64
	damaged error // what the second look finds
}

func (l *large) Check(ctx context.Context) error {
	switch l.looks.Add(1) {
	case 1:
		<-ctx.Done()
		return ctx.Err()
	case 2:
		return l.damaged
	}
	return l.Store.Check(ctx)
}

// A read model that takes long to look over doesn't hold up the projector; what the look finds
// beside it counts.
func TestALongLookIsDoneBeside(t *testing.T) {
	for name, damaged := range map[string]error{"whole": nil, "damaged": scu.Errorf(scu.CodeDamaged, "rows are missing")} {
		t.Run(name, func(t *testing.T) {
			b, _ := startBroker(t)
			s := &large{Store: openStore(t), damaged: damaged}
			p := store.NewProjector(s, b, store.ProjectorOptions{Log: slog.New(slog.DiscardHandler), FirstLook: time.Millisecond})
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			defer func() {
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			if _, err := b.Submit(ctx, scu.Submission(scu.Job{BaseModel: "bookworm-2m", Config: scu.DefaultConfig(), Class: "cpu"}, time.Now())); err != nil {
				t.Fatal(err)
			}
			end, err := b.End(ctx)
			if err != nil {
				t.Fatal(err)
			}
			looks := int64(2)
			if damaged != nil {
				looks = 3 // once more when it was made anew
			}
			for s.looks.Load() < looks {
				if err := scu.Sleep(ctx, time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.WaitFor(ctx, end); err != nil {
				t.Fatal(err)
			}
		})
	}
}
