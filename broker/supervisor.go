package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Supervise keeps the server and the queue whole until ctx ends. Every so often it
// checks that the embedded server still stores, that all streams exist,
// that each job that has not ended is in the queue, and that each queued job has a
// level that hands it out; it has none after the queue was deleted and derived anew
// from the log, or if the server forgot a claim. Every hour it
// removes what was stored in part, and what deletions left, in NATS's object stores every ten
// minutes. One role runs it, the API.
func (b *Broker) Supervise(ctx context.Context, every time.Duration) {
	var side sync.WaitGroup
	defer side.Wait()
	side.Go(func() { b.reconcile(ctx, every) }) // beside: its first pass reads the whole log
	tick := time.NewTicker(every)
	defer tick.Stop()
	var swept, sweptObjects time.Time
	clocks := map[string]*scu.ClockStep{} // of the servers that lead the object stores
	var clock scu.ClockStep
	idle := map[string]idleLane{}
	for {
		err := b.mendServer(ctx)
		if err == nil {
			err = b.mendStreams(ctx)
		}
		if err == nil {
			err = b.mendLevels(ctx, idle)
		}
		if err == nil {
			err = b.sweepDeleted(ctx)
		}
		if step := clock.Stepped(b.opts.Now()); step != 0 {
			swept = b.opts.Now() // what is being stored now would count as given up
			b.log.Warn("the clock was set, or the machine slept: the sweep of what was given up is put off", "by", step)
		}
		if err == nil && time.Since(sweptObjects) > objectsAge {
			sweptObjects = time.Now()
			err = b.sweepObjects(ctx, clocks)
		}
		if err == nil && b.opts.Now().Sub(swept).Abs() > sweepAge {
			swept = b.opts.Now()
			err = errors.Join(b.sweepAdapters(ctx, swept.Add(-sweepAge)), b.sweepMarks(ctx, sweepAge))
			if b.opts.Blobs != nil {
				err = errors.Join(err, b.opts.Blobs.Sweep(ctx, swept.Add(-sweepAge)))
			}
		}
		if ctx.Err() == nil {
			b.found("supervisor", err)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("supervise the queue", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweepAge is when what was begun to be stored counts as given up, and how often
// that is looked for.
const sweepAge = time.Hour

// objectsAge is the same of NATS's object stores, where a chunk follows another within stallTimeout,
// and of the marks of deletions there.
const objectsAge = 10 * time.Minute

// sweepObjects sweeps NATS's object stores. What is old is told by the clock that dated it, of the
// server that leads the store; if that was set since the sweep before, as clocks knows it, or another
// server leads, it waits for the next.
func (b *Broker) sweepObjects(ctx context.Context, clocks map[string]*scu.ClockStep) (err error) {
	for _, kind := range scu.BlobKinds {
		stream := objectStreamPre + buckets[kind]
		if b.short.leftOut(stream) {
			continue
		}
		now, e := b.timeOf(ctx, stream)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		if clocks[stream] == nil {
			clocks[stream] = &scu.ClockStep{}
		}
		if step := clocks[stream].Stepped(now); step != 0 {
			b.log.Warn("NATS's clock was set, or another server leads the stream: its sweep is put off", "stream", stream, "by", step)
			continue
		}
		err = errors.Join(err, objects{b}.sweep(ctx, kind, now.Add(-objectsAge)))
	}
	return err
}

// Time is the time by the clock of the server that leads the log.
func (b *Broker) Time(ctx context.Context) (time.Time, error) { return b.timeOf(ctx, stateStream) }

// timeOf is the time by the clock of the server that leads a stream, which dates what is stored there.
func (b *Broker) timeOf(ctx context.Context, stream string) (time.Time, error) {
	info, err := b.streamInfo(ctx, stream)
	switch {
	case err != nil:
		return time.Time{}, fault(err, "stream %s", stream)
	case info.TimeStamp.IsZero(): // a server of an older version
		return b.opts.Now(), nil
	}
	return info.TimeStamp, nil
}

// mendServer makes the embedded server store again once the disk accepts
// something.
func (b *Broker) mendServer(ctx context.Context) error {
	s := b.opts.Server
	if s == nil {
		return nil
	}
	why := s.Failure()
	if why == nil {
		return nil
	}
	if err := s.Revive(); err != nil {
		return fmt.Errorf("NATS stores nothing, because of %w, and can't be started again: %w", why, err)
	}
	b.log.Warn("NATS was started again: it had stopped storing", "error", why)
	// On a connection that lasts, clients would wait long for what isn't coming.
	return errors.Join(b.Setup(ctx), s.Disconnect())
}

// mendStreams creates lost streams anew, and gives streams what NATS had no room for.
func (b *Broker) mendStreams(ctx context.Context) error {
	for _, name := range b.streamNames() {
		info, err := b.existing(ctx, name)
		if err != nil {
			return fault(err, "stream %s", name)
		}
		if info != nil || b.short.leftOut(name) {
			continue
		}
		b.log.Error("a stream is gone with all it held, and is made anew", "stream", name)
		b.levels.forgetAll()
		return b.Setup(ctx)
	}
	if b.short.any() {
		return b.Setup(ctx)
	}
	return nil
}

// mendLevels creates the levels that queued jobs lack, and replaces those that forgot
// a job. Those that owners have left, as idle remembers, it removes.
func (b *Broker) mendLevels(ctx context.Context, idle map[string]idleLane) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // a long queue is a long list
	defer cancel()
	s, err := b.stream(ctx, jobsStream)
	if err != nil {
		return err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(queueHead))
	if err != nil {
		return fault(err, "read the queue")
	}
	covered := info.State.Subjects[queueHead]
	known := map[string]*jetstream.ConsumerInfo{}
	consumers := s.ListConsumers(ctx)
	for c := range consumers.Info() {
		covered += c.NumPending + uint64(c.NumAckPending)
		known[c.Name] = c
	}
	if err := consumers.Err(); err != nil {
		return fault(err, "list the queue's levels")
	}
	if covered >= info.State.Msgs {
		return b.sweepLanes(ctx, s, known, idle)
	}
	if info, err = s.Info(ctx, jetstream.WithSubjectFilter("scu.jobs.>")); err != nil {
		return fault(err, "read the queue")
	}
	mended := map[level]bool{}
	for subject := range info.State.Subjects {
		l, _, ok := parseJob(subject)
		if !ok || mended[l] {
			continue
		}
		b.levels.forget(l) // what we know of it may be out of date
		if c := known[l.durable()]; c != nil {
			if err := b.dropForgetful(ctx, s, c, subject); err != nil {
				return err
			}
		}
		if err := b.createLevel(ctx, l); err != nil {
			return err
		}
		b.ring(l)
		mended[l] = true
	}
	return nil
}

// dropForgetful deletes a level that will never hand out a job that it has, since
// it takes the job for acknowledged. It does so only if no other job of the level
// is handed out: the next one begins from the start, and would hand out that as well.
func (b *Broker) dropForgetful(ctx context.Context, s jetstream.Stream, c *jetstream.ConsumerInfo, subject string) error {
	if c.NumPending > 0 || c.NumAckPending > 0 {
		return nil
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence > c.Delivered.Stream {
		return nil // it went, or came, meanwhile
	}
	if err != nil {
		return fault(err, "read the queue")
	}
	b.log.Warn("a queue level forgot a job and is made anew", "level", c.Name, "job", subject)
	return fault(s.DeleteConsumer(ctx, c.Name), "remove queue level %s", c.Name)
}
