package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shannon-control/scu"
)

// ProjectorOptions set a Projector.
type ProjectorOptions struct {
	// Wait sleeps between tries. Default: by the clock.
	Wait func(ctx context.Context, d time.Duration) error
	// CheckEvery is how often the read model is looked over for damage, besides at the
	// start. Default 10 minutes.
	CheckEvery time.Duration
	// FirstLook bounds how long it looks for damage before it begins: a spare one must not wait
	// until all of a large read model is read. What that isn't enough for is done beside.
	// Default 2 s.
	FirstLook time.Duration
	// Log takes what is skipped and what is tried again. Default slog.Default().
	Log *slog.Logger
	// Monitor counts for Prometheus. Default: nobody counts.
	Monitor *Monitor
}

// Bounds of the wait after a failed try. It doubles from one to the other while
// nothing is projected. A fenced projector waits long at once: the other is at work, and
// two would only be in each other's way. It is short enough that a spare one has taken over
// 5 s after the other's death.
const (
	firstWait  = 50 * time.Millisecond
	lastWait   = 5 * time.Second
	fencedWait = 2 * time.Second
)

// Projector moves entries from a scu.Feed into a Store.
type Projector struct {
	store  Store
	source scu.Feed
	o      ProjectorOptions

	skipped atomic.Uint64

	mu    sync.Mutex
	at    scu.Position
	moved chan struct{} // closed when at changes
}

// NewProjector makes a projector; Run starts it.
func NewProjector(to Store, from scu.Feed, o ProjectorOptions) *Projector {
	if o.Wait == nil {
		o.Wait = scu.Sleep
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.CheckEvery == 0 {
		o.CheckEvery = 10 * time.Minute
	}
	if o.FirstLook == 0 {
		o.FirstLook = 2 * time.Second
	}
	return &Projector{store: to, source: from, o: o, moved: make(chan struct{})}
}

// Run projects until ctx is done, and then returns nil. A database or broker that
// is lost is tried again for ever. A projector that is fenced steps back for some
// seconds and goes on from where the other is, so that a spare one takes over by
// itself. A read model that is damaged, which is looked for at the start and every so often,
// is emptied and projected anew. Its one error is scu.ErrOtherLog.
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

// WaitFor returns when everything up to the given positions is projected, so that
// it can be read; or with ctx's error.
func (p *Projector) WaitFor(ctx context.Context, to scu.Position) error {
	for {
		p.mu.Lock()
		at, moved := p.at, p.moved
		p.mu.Unlock()
		if at.Reached(to) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Position returns how far this projector knows the store to be.
func (p *Projector) Position() scu.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// Skipped is how many entries this projector passed over because they could not
// be read or stored. Each of them was logged.
func (p *Projector) Skipped() uint64 { return p.skipped.Load() }

// run follows the source, again after each fault, until ctx is done or, where
// end is given, it is reached.
func (p *Projector) run(ctx context.Context, end *scu.Position) error {
	wait := firstWait
	var checked time.Time
	for {
		from := p.Position()
		unfinished := false // this turn's look, since it took too long
		var err error
		if time.Since(checked) >= p.o.CheckEvery {
			look, enough := context.WithTimeout(ctx, p.o.FirstLook)
			checked, err = time.Now(), p.check(look)
			unfinished = look.Err() != nil
			enough()
		}
		if err == nil {
			err = p.follow(ctx, end, unfinished)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errDone):
			return nil
		case errors.Is(err, scu.ErrOtherLog):
			return err
		}
		if !errors.Is(err, ErrFenced) { // after any other fault the model may not be what it was
			checked = time.Time{}
		}
		if scu.CodeOf(err) == scu.CodeDamaged {
			p.o.Log.Error("the read model is damaged and is made anew from the log", "reason", err)
			p.o.Monitor.rebuilds()
			if err = p.store.Reset(ctx); err == nil {
				p.advance(scu.Position{})
				if p.o.Wait(ctx, wait) != nil {
					return nil
				}
				wait = min(2*wait, lastWait) // in case that it isn't mended by this
				continue
			}
		}
		if errors.Is(err, ErrFenced) {
			wait = fencedWait
		} else if p.Position() != from {
			wait = firstWait
		}
		p.o.Monitor.failed()
		p.o.Log.Warn("the projector tries again", "after", wait, "error", err)
		if p.o.Wait(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, lastWait)
	}
}

// errDone means that the requested end is reached.
var errDone = errors.New("everything is projected")

// follow projects from the store's positions on until something fails or end,
// where given, is reached. Only the store knows where it is: a Project that seemed
// to fail may have succeeded.
func (p *Projector) follow(ctx context.Context, end *scu.Position, unchecked bool) error {
	at, err := p.store.Position(ctx)
	if err != nil {
		return err
	}
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	go p.watch(ctx, unchecked, broken)
	reach := func(to scu.Position) error {
		p.advance(to)
		if end != nil && to.Reached(*end) {
			return errDone
		}
		return nil
	}
	if err := reach(at); err != nil {
		return err
	}
	err = p.source.Follow(ctx, at, func(b scu.Batch) error {
		skipped := b.Unreadable + p.sift(&b)
		if err := p.store.Project(ctx, b); err != nil {
			return err
		}
		p.skipped.Add(uint64(skipped))
		p.o.Monitor.projected(b, skipped, time.Now())
		return reach(b.To)
	})
	if cause := context.Cause(ctx); scu.CodeOf(cause) == scu.CodeDamaged {
		return cause
	}
	return err
}

// check returns that the read model is damaged. If that can't be said now, it isn't.
func (p *Projector) check(ctx context.Context) error {
	err := p.store.Check(ctx)
	if scu.CodeOf(err) == scu.CodeDamaged {
		return err
	}
	if err != nil && ctx.Err() == nil {
		p.o.Log.Warn("the read model can't be looked over for damage now", "error", err)
	}
	return nil
}

// watch looks for damage every so often, and at once if it was not looked for, and breaks off
// with what it finds.
func (p *Projector) watch(ctx context.Context, unchecked bool, broken context.CancelCauseFunc) {
	tick := time.NewTicker(p.o.CheckEvery)
	defer tick.Stop()
	for {
		if unchecked {
			if err := p.check(ctx); err != nil {
				broken(err)
				return
			}
		}
		unchecked = true
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sift removes from a batch what no store can hold, and returns how much that is:
// one bad entry must not keep all that follow away.
func (p *Projector) sift(b *scu.Batch) (skipped int) {
	bad := func(stream string, seq uint64, err error) bool {
		if err != nil {
			skipped++
			p.o.Log.Error("the projector skips an entry", "stream", stream, "sequence", seq, "error", err)
		}
		return err != nil
	}
	b.State = slices.DeleteFunc(b.State, func(e scu.LogEntry) bool { return bad("state", e.Seq, checkEntry(e)) })
	b.Metrics = slices.DeleteFunc(b.Metrics, func(e scu.MetricsEntry) bool { return bad("metrics", e.Seq, e.Metrics.Check()) })
	return skipped
}

// advance notes where the store is.
func (p *Projector) advance(to scu.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = to
	close(p.moved)
	p.moved = make(chan struct{})
}
