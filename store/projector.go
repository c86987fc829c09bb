package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"scu"
)

// Source is the log and the metrics stream, as a projector reads them.
type Source interface {
	// End says up to where the streams go now.
	End(ctx context.Context) (Positions, error)
	// Read delivers every entry after the given positions, each stream in its
	// order, and then those that come, until ctx is done, deliver fails or the
	// broker is lost; that is its error. deliver is not called by two at once.
	Read(ctx context.Context, after Positions, deliver func(Entry) error) error
}

// Entry is one entry of either stream.
type Entry struct {
	Stream Stream
	Seq    uint64

	// One of these is set.
	Event   *scu.Event
	Metrics *scu.Metrics
	Err     error // why the entry can't be read
}

// Stream names a stream of a Source.
type Stream string

const (
	StateStream   Stream = "state"
	MetricsStream Stream = "metrics"
)

// ErrAhead says that the read model has seen entries that the log doesn't have:
// the log is another one, or lost its end. Only a rebuild makes them agree.
var ErrAhead = errors.New("the read model is ahead of the log; rebuild it with: scu projector --rebuild")

// ProjectorOptions set a Projector.
type ProjectorOptions struct {
	// Batch is the most entries of one transaction. Default 5000. There are as
	// many only where the projector is behind; otherwise it waits for none.
	Batch int
	// Wait sleeps between tries. Default: by the clock.
	Wait func(ctx context.Context, d time.Duration) error
	// Log takes what is skipped and what is tried again. Default slog.Default().
	Log *slog.Logger
}

// Bounds of the wait after a failed try. It doubles from one to the other while
// nothing is projected.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 5 * time.Second
)

// Projector moves entries from a Source into a Store.
type Projector struct {
	store  Store
	source Source
	o      ProjectorOptions

	skipped atomic.Uint64

	mu    sync.Mutex
	at    Positions
	moved chan struct{} // closed when at changes
}

// NewProjector makes a projector; Run starts it.
func NewProjector(to Store, from Source, o ProjectorOptions) *Projector {
	if o.Batch <= 0 {
		o.Batch = 5000
	}
	if o.Wait == nil {
		o.Wait = sleep
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Projector{store: to, source: from, o: o, moved: make(chan struct{})}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run projects until ctx is done, and then returns nil. A database or broker that
// is lost is tried again for ever. A projector that is fenced steps back and goes
// on from where the other is, so a spare one takes over by itself. Its one error
// is ErrAhead.
func (p *Projector) Run(ctx context.Context) error { return p.run(ctx, nil) }

// Rebuild empties the store and projects everything up to what is the end of the
// streams now. Readers see the read model grow meanwhile.
func (p *Projector) Rebuild(ctx context.Context) error {
	end, err := p.source.End(ctx)
	if err != nil {
		return fmt.Errorf("rebuild the read model: %w", err)
	}
	if err := p.store.Reset(ctx); err != nil {
		return fmt.Errorf("rebuild the read model: %w", err)
	}
	if err := p.run(ctx, &end); err != nil {
		return err
	}
	return ctx.Err()
}

// WaitFor returns when the state events up to seq are projected, so that they can
// be read; or with ctx's error.
func (p *Projector) WaitFor(ctx context.Context, seq uint64) error {
	for {
		p.mu.Lock()
		at, moved := p.at, p.moved
		p.mu.Unlock()
		if at.State >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Positions says up to where this projector knows the store to be.
func (p *Projector) Positions() Positions {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// Skipped is how many entries could not be projected so far.
func (p *Projector) Skipped() uint64 { return p.skipped.Load() }

// run follows the source, again after each fault, until ctx is done or, where
// end is given, it is reached.
func (p *Projector) run(ctx context.Context, end *Positions) error {
	wait := firstWait
	for {
		from := p.Positions()
		err := p.follow(ctx, end)
		switch {
		case err == nil, errors.Is(err, ErrAhead):
			return err
		case ctx.Err() != nil:
			return nil
		}
		if p.Positions() != from {
			wait = firstWait
		}
		p.o.Log.Warn("the projector tries again", "after", wait, "error", err)
		if p.o.Wait(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, lastWait)
	}
}

// follow projects from the store's positions on until something fails or end,
// where given, is reached.
func (p *Projector) follow(ctx context.Context, end *Positions) error {
	at, err := p.store.Positions(ctx)
	if err != nil {
		return err
	}
	newest, err := p.source.End(ctx)
	if err != nil {
		return err
	}
	if at.State > newest.State || at.Metrics > newest.Metrics {
		return fmt.Errorf("%w (it is at %+v, the log ends at %+v)", ErrAhead, at, newest)
	}
	p.advance(at)

	ctx, cancel := context.WithCancel(ctx)
	entries := make(chan Entry, p.o.Batch)
	lost := make(chan error, 1)
	go func() {
		lost <- p.source.Read(ctx, at, func(e Entry) error {
			select {
			case entries <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	running := true
	defer func() { // no reader outlives its projector
		cancel()
		if running {
			<-lost
		}
	}()
	for end == nil || at.State < end.State || at.Metrics < end.Metrics {
		var first Entry
		select {
		case first = <-entries:
		case err := <-lost:
			running = false
			return fmt.Errorf("read the log: %w", err)
		}
		b := p.gather(at, first, entries)
		if err := p.store.Project(ctx, b); err != nil {
			return err
		}
		at = b.To
		p.advance(at)
	}
	return nil
}

// gather makes a batch of first and what else is there.
func (p *Projector) gather(from Positions, first Entry, more <-chan Entry) Batch {
	b := Batch{From: from, To: from}
	p.add(&b, first)
	for n := 1; n < p.o.Batch; n++ {
		select {
		case e := <-more:
			p.add(&b, e)
		default:
			return b
		}
	}
	return b
}

// add puts an entry into the batch, or past it where it can't be projected: one
// bad entry must not keep all that follow away.
func (p *Projector) add(b *Batch, e Entry) {
	err := e.Err
	switch {
	case err != nil:
	case e.Event != nil:
		s := StateEntry{Seq: e.Seq, Event: *e.Event}
		if err = s.Check(); err == nil {
			b.State = append(b.State, s)
		}
	case e.Metrics != nil:
		m := MetricsEntry{Seq: e.Seq, Metrics: *e.Metrics}
		if err = m.Check(); err == nil {
			b.Metrics = append(b.Metrics, m)
		}
	default:
		err = errors.New("it is empty")
	}
	if err != nil {
		p.skipped.Add(1)
		p.o.Log.Error("the projector skips an entry", "stream", e.Stream, "seq", e.Seq, "error", err)
	}
	if e.Stream == StateStream {
		b.To.State = max(b.To.State, e.Seq)
	} else {
		b.To.Metrics = max(b.To.Metrics, e.Seq)
	}
}

// advance notes where the store is.
func (p *Projector) advance(to Positions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = to
	close(p.moved)
	p.moved = make(chan struct{})
}
