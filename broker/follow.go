package broker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// maxBatch is the most entries that Follow hands over at once.
const maxBatch = 1000

// Follow reads the log and the metrics from a position on; see [scu.Feed]. A batch has
// up to 1,000 entries, or what there is as soon as there is anything. It goes on over
// reconnects and restarts of the server, as long as the streams stay the same.
func (b *Broker) Follow(ctx context.Context, after scu.Position, apply func(scu.Batch) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	identity, err := b.identity(ctx)
	for ; err != nil; identity, err = b.identity(ctx) {
		b.log.Warn("reading the log, starting over", "error", err)
		if awaitRetry(ctx, b.nextReconnect()); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if after.Log == "" {
		after.Log = identity
	}
	log := after.Log // after moves on while the readers run
	entries := make(chan entry, 2*maxBatch)
	read := func(stream string, from uint64, parse func(uint64, []byte) (entry, error)) {
		same := func(ctx context.Context, at uint64) error { return b.reaches(ctx, stream, at, log) }
		err := b.follow(ctx, stream, "", from, same, func(seq uint64, _ string, data []byte) error {
			e, err := parse(seq, data)
			if e.state != nil {
				if newer := e.state.Understood(); newer != nil && e.state.Version > scu.LogVersion {
					return newer // to pass it over would lose it
				}
			}
			if err != nil {
				b.log.Error("unreadable entry", "stream", stream, "sequence", seq, "error", err)
			}
			select {
			case entries <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		cancel(err)
	}
	go read(stateStream, after.State, parseState)
	go read(metricsStream, after.Metrics, parseMetrics)

	for {
		next := scu.Batch{From: after, To: after}
		select {
		case e := <-entries:
			e.addTo(&next)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for more := true; more && len(next.State)+len(next.Metrics) < maxBatch; {
			select {
			case e := <-entries:
				e.addTo(&next)
			default:
				more = false
			}
		}
		if err := apply(next); err != nil {
			return err
		}
		after = next.To
	}
}

// FollowJob gives a job's entries after a sequence; see [scu.Log].
func (b *Broker) FollowJob(ctx context.Context, id string, after uint64) (<-chan scu.LogEntry, error) {
	if !scu.ValidJobID(id) {
		return nil, scu.NoJob(id)
	}
	return b.jobEntries.follow(ctx, id, stateGuard(id), after)
}

// JobEntries returns a job's entries up to a sequence; see [scu.Log].
func (b *Broker) JobEntries(ctx context.Context, id string, end uint64) (all []scu.LogEntry, err error) {
	if !scu.ValidJobID(id) {
		return nil, scu.NoJob(id)
	}
	for after := uint64(0); ; {
		reconnected := b.nextReconnect()
		err := b.present(ctx, stateStream, stateGuard(id), after+1, false, func(seq uint64, m jetstream.Msg) error {
			all, after = append(all, b.jobEntries.parsed(seq, m.Data())), seq
			return nil
		})
		if err == nil && after >= end {
			return all, nil
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("reading a job's entries, starting over", "job", id, "after", after, "error", err)
		}
		if awaitRetry(ctx, reconnected); ctx.Err() != nil { // it failed, or a copy of the log is behind
			return nil, fault(cmp.Or(err, context.Cause(ctx)), "read the log of job %s", id)
		}
	}
}

func parseLogEntry(seq uint64, data []byte) (scu.LogEntry, error) {
	var e scu.Event
	if err := json.Unmarshal(data, &e); err != nil {
		return scu.LogEntry{Seq: seq}, err
	}
	return scu.LogEntry{Seq: seq, Event: e}, nil
}

// identity returns what tells these streams from others, such as those of a server whose
// disk was wiped.
func (b *Broker) identity(ctx context.Context) (string, error) {
	var both []string
	for _, name := range []string{stateStream, metricsStream} {
		info, err := b.streamInfo(ctx, name)
		if err != nil {
			return "", fault(err, "stream %s", name)
		}
		both = append(both, info.Config.Metadata[identityKey])
	}
	return strings.Join(both, "-"), nil
}

// reaches refuses, as ErrOtherLog, a position beyond a stream's end or of another log.
func (b *Broker) reaches(ctx context.Context, name string, after uint64, log string) error {
	hint := "the read model belongs to another log; rebuild it with: scu projector --rebuild"
	identity, err := b.identity(ctx)
	if err != nil {
		return err
	}
	if identity != log {
		return scu.Errorf(scu.CodeConflict, "the log is %s, not %s: %w", identity, log, scu.ErrOtherLog).WithHint("%s", hint)
	}
	info, err := b.existing(ctx, name)
	if err != nil || info == nil {
		return fault(err, "stream %s", name)
	}
	if info.State.LastSeq < after {
		return scu.Errorf(scu.CodeConflict, "stream %s ends at %d, before %d: %w", name, info.State.LastSeq, after, scu.ErrOtherLog).WithHint("%s", hint)
	}
	return nil
}

// entry is one message of either stream; neither pointer is set if it can't be read.
type entry struct {
	seq      uint64
	isMetric bool
	probe    bool
	state    *scu.Event
	metrics  *scu.Metrics
}

func parseState(seq uint64, data []byte) (entry, error) {
	if bytes.Equal(data, probeEntry) || isHalts(data) {
		return entry{seq: seq, probe: true}, nil
	}
	e := new(scu.Event)
	if err := json.Unmarshal(data, e); err != nil {
		return entry{seq: seq}, err
	}
	return entry{seq: seq, state: e}, nil
}

func parseMetrics(seq uint64, data []byte) (entry, error) {
	m := new(scu.Metrics)
	if err := json.Unmarshal(data, m); err != nil {
		return entry{seq: seq, isMetric: true}, err
	}
	return entry{seq: seq, isMetric: true, metrics: m}, nil
}

func (e entry) addTo(b *scu.Batch) {
	if e.isMetric {
		b.To.Metrics = e.seq
	} else {
		b.To.State = e.seq
	}
	if e.state != nil {
		b.State = append(b.State, scu.LogEntry{Seq: e.seq, Event: *e.state})
	}
	if e.metrics != nil {
		b.Metrics = append(b.Metrics, scu.MetricsEntry{Seq: e.seq, Metrics: *e.metrics})
	}
	if e.state == nil && e.metrics == nil && !e.probe {
		b.Unreadable++
	}
}

// End returns the position of the newest entries, 0 for a stream without any.
func (b *Broker) End(ctx context.Context) (p scu.Position, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	for _, stream := range []struct {
		name string
		end  *uint64
	}{{stateStream, &p.State}, {metricsStream, &p.Metrics}} {
		s, err := b.stream(ctx, stream.name)
		if err != nil {
			return scu.Position{}, err
		}
		info, err := s.Info(ctx)
		if err != nil {
			return scu.Position{}, fault(err, "stream %s", stream.name)
		}
		if info.State.Msgs > 0 {
			*stream.end = info.State.LastSeq
		}
		if p.Log != "" {
			p.Log += "-"
		}
		p.Log += info.Config.Metadata[identityKey]
	}
	return p, nil
}
