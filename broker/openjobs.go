package broker

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// openJobs are the jobs that have not ended, as the subjects and sizes of the log's entries
// tell. It is read on from where it was, by whoever asks.
type openJobs struct {
	b    *Broker
	turn chan struct{} // of capacity 1: held by the caller that reads

	mu       sync.Mutex
	identity string // of the log that was read
	known    bool   // it was read to an end
	read     uint64 // up to this entry
	entries  int64  // that the log had when its reading began last, and their bytes
	bytes    int64
	jobs     map[jobKey]openJob
	levels   []level // that jobs' places in it name
	places   map[level]int32
	later    map[jobKey]time.Time // jobs that are queued at a time
	reserved int64                // sum over jobs
}

// jobKey is a job's id.
type jobKey [8]byte

func (k jobKey) String() string { return hex.EncodeToString(k[:]) }

func keyOf(id string) (k jobKey, ok bool) {
	if !scu.ValidJobID(id) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(id))
	return k, err == nil
}

// openJob is one of them.
type openJob struct {
	scu.OpenJob
	place int32 // of its level; outside if it is in no queue
}

// outside is the place of a job that is paused or scheduled.
const outside = -1

// entryOverhead is what the log takes for an entry beside its text: subject, headers, record.
const entryOverhead = 448

func newOpenJobs(b *Broker) *openJobs {
	o := &openJobs{b: b, turn: make(chan struct{}, 1)}
	o.forget("")
	return o
}

// forget begins anew, with another log. o.mu is held, or nobody else has o.
func (o *openJobs) forget(identity string) {
	o.identity, o.known, o.read, o.entries, o.bytes, o.reserved = identity, false, 0, 0, 0, 0
	o.jobs, o.later = map[jobKey]openJob{}, map[jobKey]time.Time{}
	o.levels, o.places = nil, map[level]int32{}
}

// readOn reads what the log has more than the last time. Of another log, or one that lost
// its end, it begins anew.
func (o *openJobs) readOn(ctx context.Context) error {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	info, err := o.b.existing(ctx, stateStream)
	if err != nil || info == nil {
		return fault(err, "read the log")
	}
	o.mu.Lock()
	if identity := info.Config.Metadata[identityKey]; identity != o.identity || info.State.LastSeq < o.read {
		o.forget(identity)
	}
	read := o.read
	o.mu.Unlock()
	if info.State.LastSeq > read {
		if err := o.readFrom(ctx, read+1); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known, o.entries, o.bytes = true, int64(info.State.Msgs), int64(info.State.Bytes)
	return nil
}

// readFrom reads the log from an entry on to its end.
func (o *openJobs) readFrom(ctx context.Context, from uint64) error {
	return o.b.present(ctx, stateStream, "", from, true, func(seq uint64, m jetstream.Msg) error {
		size, err := strconv.ParseInt(m.Headers().Get(nats.MsgSize), 10, 64)
		if err != nil {
			return scu.Errorf(scu.CodeInternal, "read the log: size of entry %d: %w", seq, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.note(m.Subject(), size+entryOverhead)
		o.read = seq
		return nil
	})
}

// note takes in an entry's subject and size. o.mu is held.
func (o *openJobs) note(subject string, size int64) {
	t := strings.Split(subject, ".")
	if len(t) < 5 {
		return
	}
	id, ok := keyOf(t[2])
	if !ok {
		return
	}
	j, open := o.jobs[id]
	before := j
	last := scu.EventType(t[len(t)-1])
	switch {
	case (t[3] == whoSubmit || t[3] == whoAgain) && len(t) == 6:
		l, ok := parseLevel(t[4], t[5])
		if !ok {
			return
		}
		j.OpenJob, j.place = j.After(scu.EventResumed, size), o.placeOf(l)
		delete(o.later, id)
	case t[3] == whoSubmit:
		at, err := strconv.ParseInt(t[4], 10, 64)
		if err != nil {
			return
		}
		j.OpenJob, j.place = j.After(scu.EventScheduled, size), outside
		o.later[id] = time.Unix(at, 0)
	case last == scu.EventCompleted, last == scu.EventFailed, last == scu.EventCancelled:
		j = openJob{}
		delete(o.later, id)
	case !open: // its deletion
		return
	case last == scu.EventPaused:
		j.OpenJob, j.place = j.After(last, size), outside
		delete(o.later, id)
	default:
		j.OpenJob = j.After(last, size)
	}
	o.reserved += j.Reserve() - before.Reserve()
	if j.OpenJob == (scu.OpenJob{}) {
		delete(o.jobs, id)
		return
	}
	o.jobs[id] = j
}

func (o *openJobs) placeOf(l level) int32 {
	place, known := o.places[l]
	if !known {
		place = int32(len(o.levels))
		o.levels, o.places[l] = append(o.levels, l), place
	}
	return place
}

// of is what is known of a job.
func (o *openJobs) of(id string) scu.OpenJob {
	o.mu.Lock()
	defer o.mu.Unlock()
	key, _ := keyOf(id)
	return o.jobs[key].OpenJob
}

// atMost bounds from above what the log, as info has it, keeps for open jobs: what was not read
// of it yet may be submissions alone.
func (o *openJobs) atMost(info *jetstream.StreamInfo) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	entries, bytes := int64(info.State.Msgs), int64(info.State.Bytes)
	if !o.known || info.Config.Metadata[identityKey] != o.identity || entries < o.entries {
		return mostReserved(entries, bytes)
	}
	return o.reserved + mostReserved(entries-o.entries, max(0, bytes-o.bytes))
}

// mostReserved bounds what entries that take so many bytes of the log make it keep: an entry
// counts as its text and entryOverhead, which is no more than what it takes and entryOverhead.
func mostReserved(entries, bytes int64) int64 {
	return scu.MostReserved(entries, bytes+entries*entryOverhead)
}

// areKnown reports whether the log was read to an end at any time.
func (o *openJobs) areKnown() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known
}

// absent lists the jobs that should be in the queue and that there, among its subjects, are not.
func (o *openJobs) absent(there map[string]uint64) map[jobKey]level {
	o.mu.Lock()
	defer o.mu.Unlock()
	missing := map[jobKey]level{}
	for id, j := range o.jobs {
		if j.place == outside {
			continue
		}
		if l := o.levels[j.place]; there[l.job(id.String())] == 0 {
			missing[id] = l
		}
	}
	return missing
}

// settle forgets that a job is queued at a time.
func (o *openJobs) settle(id jobKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.later, id)
}

// due lists the scheduled jobs whose time has come, and says when the next one's does; zero if
// there is none.
func (o *openJobs) due(now time.Time) (ids []jobKey, next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, at := range o.later {
		if !now.Before(at) {
			ids = append(ids, id)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return ids, next
}
