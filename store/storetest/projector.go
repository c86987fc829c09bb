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

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
)

// Log is a scu.Feed in memory.
type Log struct {
	Batch int // the most entries of a batch that it delivers

	mu      sync.Mutex
	entries []scu.Batch // of one entry each
	end     scu.Position
	grown   chan struct{} // closed when entries are added or Break is called
	broken  int
}

// NewLog makes an empty log.
func NewLog() *Log { return &Log{Batch: 10, grown: make(chan struct{})} }

// AddJob appends a state event with the job after it and returns the log's end.
func (l *Log) AddJob(j scu.Job) scu.Position {
	return l.add(func(b *scu.Batch) { b.To.State++; b.State = []scu.LogEntry{entry(b.To.State, j)} })
}

// AddStep appends a step's metrics and returns the log's end.
func (l *Log) AddStep(m scu.Metrics) scu.Position {
	return l.add(func(b *scu.Batch) {
		b.To.Metrics++
		b.Metrics = []scu.MetricsEntry{{Seq: b.To.Metrics, Metrics: m}}
	})
}

// AddUnreadable appends an entry to both streams that can't be read.
func (l *Log) AddUnreadable() {
	l.add(func(b *scu.Batch) { b.To.State++; b.To.Metrics++; b.Unreadable = 2 })
}

func (l *Log) add(fill func(*scu.Batch)) scu.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := scu.Batch{From: l.end, To: l.end}
	fill(&b)
	l.entries, l.end = append(l.entries, b), b.To
	l.wake()
	return l.end
}

// Break makes every Follow that goes on now fail.
func (l *Log) Break() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken++
	l.wake()
}

func (l *Log) wake() {
	close(l.grown)
	l.grown = make(chan struct{})
}

// End is the end of the log.
func (l *Log) End(context.Context) (scu.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, nil
}

// Follow delivers the log; see scu.Feed.
func (l *Log) Follow(ctx context.Context, at scu.Position, apply func(scu.Batch) error) error {
	l.mu.Lock()
	end, whole := l.end, l.broken
	l.mu.Unlock()
	if at.State > end.State || at.Metrics > end.Metrics {
		return scu.ErrOtherLog
	}
	for next := 0; ; {
		l.mu.Lock()
		entries, grown, broken := l.entries[next:], l.grown, l.broken
		l.mu.Unlock()
		if broken != whole {
			return errors.New("the log broke")
		}
		if len(entries) == 0 {
			select {
			case <-grown:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		entries = entries[:min(len(entries), l.Batch)]
		next += len(entries)
		b := scu.Batch{From: at, To: at}
		for _, e := range entries {
			if e.To.State > at.State || e.To.Metrics > at.Metrics {
				b.To = e.To
				b.State = append(b.State, e.State...)
				b.Metrics = append(b.Metrics, e.Metrics...)
				b.Unreadable += e.Unreadable
			}
		}
		if b.To == at {
			continue
		}
		if err := apply(b); err != nil {
			return err
		}
		at = b.To
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

// WaitFor waits until p has projected everything up to the given positions.
func WaitFor(t testing.TB, p *store.Projector, to scu.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := p.WaitFor(ctx, to); err != nil {
		t.Fatalf("the projector is at %+v, not at %+v: %v", p.Position(), to, err)
	}
}

// Fill appends the log of some jobs: two attempts each, some metrics twice, some
// entries that can't be read. It returns the log's end.
func Fill(l *Log, jobs int) scu.Position {
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
			l.AddUnreadable()
		}
	}
	var end scu.Position
	for n := range jobs {
		j := newJob(n)
		t := at(100 + n)
		j.Status, j.Attempt, j.CompletedAt = scu.Completed, 2, &t
		end = l.AddJob(j)
	}
	return end
}

func follow(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	p := store.NewProjector(s, l, Options())
	stop := Start(t, p)
	for n := range 5 {
		WaitFor(t, p, l.AddJob(newJob(n+1)))
		got, _ := job(t, s, jobID(n+1))
		equal(t, "job", got, newJob(n+1))
		WaitFor(t, p, l.AddStep(step(1, 1, n, 6)))
		newest, err := s.Latest(t.Context(), jobID(1))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "latest", newest, step(1, 1, n, 6))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.WaitFor(ctx, scu.Position{State: 1000}); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for what doesn't come: %v", err)
	}
	stop()
	end := l.AddJob(newJob(9))
	again := store.NewProjector(s, l, Options())
	Start(t, again)
	WaitFor(t, again, end)
}

func skip(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	l.AddUnreadable()
	l.AddJob(newJob(1))
	l.AddJob(scu.Job{ID: "../../etc", Status: scu.Queued})
	l.AddStep(step(1, 1, 0, 2))
	l.AddStep(scu.Metrics{JobID: jobID(1), Step: 1, Loss: math.NaN()})
	l.AddUnreadable()
	p := store.NewProjector(s, l, Options())
	Start(t, p)
	WaitFor(t, p, scu.Position{State: 4, Metrics: 4})
	equal(t, "skipped", p.Skipped(), uint64(6))
	at, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "positions", at, scu.Position{State: 4, Metrics: 4})
	got, _ := job(t, s, jobID(1))
	equal(t, "job", got, newJob(1))
	rows, _ := page(t, s, jobID(1), scu.StepPage{AfterStep: 0})
	equal(t, "metrics", rows, []scu.Metrics{step(1, 1, 0, 2)})
}

// faulty is a store whose Project fails at times, before or after it worked.
type faulty struct {
	store.Store
	calls int
}

func (f *faulty) Project(ctx context.Context, b scu.Batch) error {
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
	l.Batch = 3
	o := Options()
	var waits []time.Duration
	o.Wait = func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}
	p := store.NewProjector(&faulty{Store: s}, l, o)
	end := Fill(l, 6)
	stop := Start(t, p)
	WaitFor(t, p, scu.Position{State: end.State / 2})
	l.Break()
	WaitFor(t, p, end)
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
	l := NewLog()
	l.Batch = 2
	one, two := store.NewProjector(Open(t, db), l, Options()), store.NewProjector(Open(t, db), l, Options())
	stopOne := Start(t, one)
	Start(t, two)
	half := Fill(l, 5)
	end := Fill(l, 5)
	WaitFor(t, one, half)
	stopOne()
	WaitFor(t, two, end)

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
	WaitFor(t, p, Fill(l, 8))
	want := Rows(t, db)
	if err := p.Rebuild(t.Context()); err != nil { // while it runs
		t.Fatal(err)
	}
	equal(t, "rows", Rows(t, db), want)
	stop()
	for _, l.Batch = range []int{1, 7, 100_000} {
		if err := store.NewProjector(s, l, Options()).Rebuild(t.Context()); err != nil {
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
	end := other.AddJob(newJob(77))
	p := store.NewProjector(s, other, Options())
	if err := p.Run(t.Context()); !errors.Is(err, scu.ErrOtherLog) {
		t.Fatalf("got %v, want ErrOtherLog", err)
	}
	if err := p.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "positions", p.Position(), end)
	if _, _, err := s.Job(t.Context(), jobID(0)); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("a job of the other log is there: %v", err)
	}
	job(t, s, jobID(77))
}

// Rows that others took away are noticed, at a projector's start and while it runs; what it
// deletes itself is no damage.
func damage(t *testing.T, db Database) {
	s, l := Open(t, db), NewLog()
	gone := newJob(90)
	l.AddJob(gone)
	l.AddStep(step(90, 1, 0, 2))
	gone.Status = scu.Deleted
	l.AddJob(gone)
	end := Fill(l, 6)
	if err := store.NewProjector(s, l, Options()).Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := Rows(t, db)
	check := func(when string, code scu.Code) {
		t.Helper()
		if err := s.Check(t.Context()); scu.CodeOf(err) != code {
			t.Errorf("%s: %v, want %q", when, err, code)
		}
	}
	check("untouched", "")
	c, err := db.SQL()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, harm := range []string{
		"DELETE FROM jobs", "DELETE FROM metrics", "DELETE FROM progress", "DELETE FROM position",
		"DELETE FROM jobs WHERE job_id = (SELECT min(job_id) FROM jobs)", "DELETE FROM metrics WHERE step = 7",
	} {
		for _, running := range []bool{false, true} {
			o := Options()
			if running {
				o.CheckEvery = time.Millisecond
			}
			p := store.NewProjector(s, l, o)
			stop := func() {}
			if running {
				stop = Start(t, p)
				WaitFor(t, p, end)
			}
			if _, err := c.Exec(harm); err != nil {
				t.Fatal(err)
			}
			if !running {
				check(harm, scu.CodeDamaged)
				stop = Start(t, p)
			}
			for whole := false; !whole && t.Context().Err() == nil; runtime.Gosched() {
				if s.Check(t.Context()) == nil {
					at, err := s.Position(t.Context())
					whole = err == nil && at == end
				}
			}
			stop()
			equal(t, "rows after "+harm, Rows(t, db), want)
		}
	}
}
