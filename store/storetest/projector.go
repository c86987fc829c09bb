package storetest

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"scu"
	"scu/store"
)

// Log is a store.Source in memory.
type Log struct {
	mu      sync.Mutex
	entries []store.Entry
	end     store.Positions
	grown   chan struct{} // closed when entries are added or Break is called
	breaks  int
}

// NewLog makes an empty log.
func NewLog() *Log { return &Log{grown: make(chan struct{})} }

// Add appends an entry, numbers it and returns its sequence. It fills in the
// stream where the entry says it by what it holds.
func (l *Log) Add(e store.Entry) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Event != nil {
		e.Stream = store.StateStream
	}
	if e.Metrics != nil {
		e.Stream = store.MetricsStream
	}
	if e.Stream == store.StateStream {
		l.end.State++
		e.Seq = l.end.State
	} else {
		l.end.Metrics++
		e.Seq = l.end.Metrics
	}
	l.entries = append(l.entries, e)
	l.wake()
	return e.Seq
}

// AddJob appends a state event with the job after it.
func (l *Log) AddJob(j scu.Job) uint64 {
	return l.Add(store.Entry{Event: &scu.Event{Type: scu.EventPhase, Time: at(0), Job: j}})
}

// AddStep appends a step's metrics.
func (l *Log) AddStep(m scu.Metrics) uint64 { return l.Add(store.Entry{Metrics: &m}) }

// Break makes every Read that goes on now fail.
func (l *Log) Break() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaks++
	l.wake()
}

func (l *Log) wake() {
	close(l.grown)
	l.grown = make(chan struct{})
}

// End is the end of the log.
func (l *Log) End(context.Context) (store.Positions, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, nil
}

// Read delivers entries; see store.Source.
func (l *Log) Read(ctx context.Context, after store.Positions, deliver func(store.Entry) error) error {
	next, breaks := 0, -1
	for {
		l.mu.Lock()
		entries, grown, n := l.entries[next:], l.grown, l.breaks
		l.mu.Unlock()
		if breaks < 0 {
			breaks = n
		}
		if n != breaks {
			return errors.New("the log broke")
		}
		for _, e := range entries {
			next++
			if e.Stream == store.StateStream && e.Seq <= after.State || e.Stream == store.MetricsStream && e.Seq <= after.Metrics {
				continue
			}
			if err := deliver(e); err != nil {
				return err
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Options are a projector's for tests: it waits for nothing and says nothing.
func Options() store.ProjectorOptions {
	return store.ProjectorOptions{
		Log: slog.New(slog.DiscardHandler),
		Wait: func(ctx context.Context, _ time.Duration) error {
			runtime.Gosched()
			return ctx.Err()
		},
	}
}

// Start runs a projector until t ends or the returned function is called, which
// waits for its end.
func Start(t testing.TB, p *store.Projector) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			t.Errorf("the projector ended: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// WaitFor waits until p has projected the state events up to seq.
func WaitFor(t testing.TB, p *store.Projector, seq uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.WaitFor(ctx, seq); err != nil {
		t.Fatalf("state event %d is not projected (the projector is at %+v): %v", seq, p.Positions(), err)
	}
}

// Fill appends the log of some jobs: attempts, metrics delivered twice, entries
// that can't be read. Its last entry is the state event whose sequence it returns.
func Fill(l *Log, jobs int) uint64 {
	for n := range jobs {
		l.AddJob(newJob(n))
	}
	for attempt := 1; attempt <= 2; attempt++ {
		for n := range jobs {
			j := newJob(n)
			j.Status, j.Attempt = scu.Running, attempt
			l.AddJob(j)
			for s := range 7 {
				l.AddStep(step(n, attempt, s+attempt*4, 16))
				if s%3 == 0 {
					l.AddStep(step(n, attempt, s+attempt*4, 16))
				}
			}
			l.Add(store.Entry{Stream: store.MetricsStream, Err: errors.New("bad JSON")})
		}
	}
	var last uint64
	for n := range jobs {
		j := newJob(n)
		t := at(100 + n)
		j.Status, j.Attempt, j.CompletedAt = scu.Completed, 2, &t
		last = l.AddJob(j)
	}
	return last
}

func follow(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	p := store.NewProjector(s, l, Options())
	l.AddJob(newJob(1))
	stop := Start(t, p)
	WaitFor(t, p, 1)
	for n := range 5 {
		l.AddStep(step(1, 1, n, 6))
		WaitFor(t, p, l.AddJob(newJob(n+1)))
		got, _ := job(t, s, jobID(n+1))
		equal(t, "job", got, newJob(n+1))
		newest, err := s.Latest(t.Context(), jobID(1))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "latest", newest, step(1, 1, n, 6))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.WaitFor(ctx, 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for what doesn't come: %v", err)
	}
	stop()
	seq := l.AddJob(newJob(9))
	again := store.NewProjector(s, l, Options())
	Start(t, again)
	WaitFor(t, again, seq)
}

func skip(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	l.Add(store.Entry{Stream: store.StateStream, Err: errors.New("bad JSON")})
	l.AddJob(newJob(1))
	l.AddJob(scu.Job{ID: "../../etc", Status: scu.Queued})
	l.Add(store.Entry{Stream: store.MetricsStream})
	l.AddStep(step(1, 1, 0, 2))
	l.AddStep(scu.Metrics{JobID: jobID(1), Step: 1, Loss: math.NaN()})
	l.Add(store.Entry{Stream: store.StateStream, Err: errors.New("bad JSON")})
	p := store.NewProjector(s, l, Options())
	Start(t, p)
	WaitFor(t, p, 4)
	equal(t, "skipped", p.Skipped(), uint64(5))
	at, err := s.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "positions", at, store.Positions{State: 4, Metrics: 3})
	got, _ := job(t, s, jobID(1))
	equal(t, "job", got, newJob(1))
	rows, _ := page(t, s, jobID(1), store.Page{AfterStep: -1})
	equal(t, "metrics", rows, []scu.Metrics{step(1, 1, 0, 2)})
}

// faulty is a store whose Project fails at times, before or after it worked.
type faulty struct {
	store.Store
	calls int
}

func (f *faulty) Project(ctx context.Context, b store.Batch) error {
	f.calls++
	lost := scu.Errorf(scu.CodeUnavailable, "the connection is lost")
	if f.calls <= 3 {
		return lost
	}
	if err := f.Store.Project(ctx, b); err != nil {
		return err
	}
	if f.calls%5 == 0 { // an answer that is lost
		return lost
	}
	return nil
}

func faults(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	o := Options()
	o.Batch = 3
	var waits []time.Duration
	o.Wait = func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}
	p := store.NewProjector(&faulty{Store: s}, l, o)
	last := Fill(l, 6)
	stop := Start(t, p)
	WaitFor(t, p, last-2)
	l.Break()
	WaitFor(t, p, last)
	stop()
	equal(t, "first waits", waits[:4], []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 50 * time.Millisecond})

	got := Rows(t, db)
	clean := store.NewProjector(s, l, Options())
	if err := clean.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", Rows(t, db), got)
}

func twoProjectors(t *testing.T, db Database) {
	l, o := NewLog(), Options()
	o.Batch = 2
	one, two := store.NewProjector(Open(t, db), l, o), store.NewProjector(Open(t, db), l, o)
	stopOne := Start(t, one)
	Start(t, two)
	seq := Fill(l, 5)
	WaitFor(t, one, seq)
	WaitFor(t, two, seq)
	for n := range 20 {
		seq = l.AddJob(newJob(n))
	}
	WaitFor(t, one, seq-10)
	stopOne()
	WaitFor(t, two, seq)

	got := Rows(t, db)
	alone := store.NewProjector(Open(t, db), l, Options())
	if err := alone.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", Rows(t, db), got)
}

func rebuild(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	p := store.NewProjector(s, l, Options())
	stop := Start(t, p)
	WaitFor(t, p, Fill(l, 20))
	want := Rows(t, db)
	if err := p.Rebuild(t.Context()); err != nil { // while it runs
		t.Fatal(err)
	}
	equal(t, "rows", Rows(t, db), want)
	stop()
	for _, batch := range []int{1, 7} {
		o := Options()
		o.Batch = batch
		if err := store.NewProjector(s, l, o).Rebuild(t.Context()); err != nil {
			t.Fatal(err)
		}
		equal(t, "rows", Rows(t, db), want)
	}
}

func ahead(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	Fill(l, 3)
	if err := store.NewProjector(s, l, Options()).Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := NewLog()
	seq := other.AddJob(newJob(77))
	p := store.NewProjector(s, other, Options())
	if err := p.Run(t.Context()); !errors.Is(err, store.ErrAhead) {
		t.Fatalf("got %v, want ErrAhead", err)
	}
	if err := p.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "position", p.Positions().State, seq)
	if _, _, err := s.Job(t.Context(), jobID(0)); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("a job of the other log is there: %v", err)
	}
	job(t, s, jobID(77))
}
