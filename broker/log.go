package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/telemetry"
)

const (
	// casRounds bounds how often a compare-and-set starts over because a rival was faster.
	casRounds = 32
	// longestRound bounds how long one waits for its next round.
	longestRound = 100 * time.Millisecond
)

// rounds are those of a compare-and-set. Each waits longer than the one before: in a cluster
// a rival's entry can't be read for a while, and until then every round is lost to it.
func rounds(ctx context.Context) iter.Seq[int] {
	return func(yield func(int) bool) {
		for lost := range casRounds {
			if longest := min(time.Millisecond<<lost, longestRound); lost > 0 {
				_ = scu.Sleep(ctx, longest/2+rand.N(longest/2)) // what is read next tells that ctx ended
			}
			if !yield(lost) {
				return
			}
		}
	}
}

// publishTries bounds how often one entry is sent while no answer comes.
const publishTries = 3

// errRival means that the log has moved on since the entry was made.
var errRival = errors.New("another entry was faster")

// Submit appends a job's first entry; see [scu.Log].
func (b *Broker) Submit(ctx context.Context, e scu.Event) (uint64, error) {
	j := e.Job
	subject, data, err := b.submission(ctx, e)
	if err != nil {
		return 0, err
	}
	taken, err := b.room.admit(ctx, spaceOf(data))
	if err != nil {
		return 0, err
	}
	defer taken()
	if err := b.unmark(ctx, j.FileIDs()); err != nil {
		return 0, err
	}
	for range rounds(ctx) {
		seq, err := b.appendAfter(ctx, subject, j.ID, data, 0, nuid.Next())
		if !errors.Is(err, errRival) {
			return seq, err
		}
		first, err := b.last(ctx, stateStream, submissionOf(j.ID))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(first.Data, data) {
			return 0, scu.Errorf(scu.CodeConflict, "job id %s is taken", j.ID)
		}
		return first.Sequence, nil
	}
	return 0, scu.Errorf(scu.CodeUnavailable, "submit job %s: NATS is still storing a rival's", j.ID).WithHint("try again")
}

// submission makes the message of a first entry, and the level of its job.
func (b *Broker) submission(ctx context.Context, e scu.Event) (subject string, data []byte, err error) {
	j := e.Job
	l := levelOf(j)
	if err := e.Follows(scu.Job{}); err != nil {
		return "", nil, err
	}
	switch {
	case !scu.ValidJobID(j.ID):
		return "", nil, invalid("job id", j.ID)
	case !scu.ValidClass(j.Class):
		return "", nil, invalid("resource class", j.Class)
	case j.Priority < scu.MinPriority || j.Priority > scu.MaxPriority:
		return "", nil, scu.Errorf(scu.CodeInvalid, "must be %d to %d, not %d", scu.MinPriority, scu.MaxPriority, j.Priority).At("priority")
	}
	if data, err = b.encodeSubmission(e); err != nil {
		return "", nil, err
	}
	if e.Type == scu.EventScheduled {
		return laterSubject(j.ID, *j.NotBefore), data, b.ensureLevel(ctx, l)
	}
	return submitSubject(j.ID, l), data, b.ensureLevel(ctx, l)
}

// First returns a job's submission; see [scu.Log].
func (b *Broker) First(ctx context.Context, id string) (e scu.Event, err error) {
	if !scu.ValidJobID(id) {
		return e, scu.NoJob(id)
	}
	e, _, err = b.read(ctx, submissionOf(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return e, scu.NoJob(id)
	}
	return e, err
}

// CheckSize refuses a submission that the log has no room for, as Submit does.
func (b *Broker) CheckSize(e scu.Event) error {
	_, err := b.encodeSubmission(e)
	return err
}

// encodeSubmission leaves room in a NATS message: each later entry carries the whole
// job and more, and if one didn't fit, the job could neither run nor end.
func (b *Broker) encodeSubmission(e scu.Event) ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, scu.Errorf(scu.CodeInternal, "encode job %s: %w", e.Job.ID, err)
	}
	if most := b.nc.MaxPayload() / 4; int64(len(data)) > most {
		return nil, scu.Errorf(scu.CodeTooLarge, "the job takes %d bytes in the log, more than the %d allowed", len(data), most).
			WithHint("name fewer modules in its configuration, or use all-linear for all of them")
	}
	return data, nil
}

// Job returns a job as the log has it, and the sequence of its last entry;
// CodeNotFound if there is none.
func (b *Broker) Job(ctx context.Context, id string) (scu.Job, uint64, error) {
	if !scu.ValidJobID(id) {
		return scu.Job{}, 0, scu.NoJob(id)
	}
	e, m, err := b.latest(ctx, id)
	if m == nil {
		return e.Job, 0, err
	}
	return e.Job, m.Sequence, err
}

// latest reads the newest entry of a job that is there and that this version can act on,
// and the message that has it.
func (b *Broker) latest(ctx context.Context, id string) (e scu.Event, m *jetstream.RawStreamMsg, err error) {
	e, m, err = b.read(ctx, stateGuard(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && e.Job.Status == scu.Deleted {
		return scu.Event{}, nil, scu.NoJob(id)
	}
	if err == nil {
		err = e.Understood()
	}
	return e, m, err
}

// read reads the newest entry whose subject matches, and the message that has it, with
// jetstream.ErrMsgNotFound as the cause if there is none.
func (b *Broker) read(ctx context.Context, subject string) (e scu.Event, m *jetstream.RawStreamMsg, err error) {
	if m, err = b.last(ctx, stateStream, subject); err != nil {
		return e, nil, err
	}
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return scu.Event{}, nil, scu.Errorf(scu.CodeInternal, "entry %d of the log: %w", m.Sequence, err)
	}
	return e, m, nil
}

// Append takes a job on by compare-and-set; see [scu.Log].
func (b *Broker) Append(ctx context.Context, id, who string, transition func(scu.Job) (scu.Event, error)) (scu.Job, uint64, error) {
	return b.appendOnce(ctx, id, who, nuid.Next(), transition)
}

// appendOnce is Append of an entry with a message id: if the job's last entry has that
// already, it is a success.
func (b *Broker) appendOnce(ctx context.Context, id, who, message string, transition func(scu.Job) (scu.Event, error)) (scu.Job, uint64, error) {
	if who != scu.APIWriter && !scu.ValidTrainer(who) {
		return scu.Job{}, 0, invalid("trainer name", who)
	}
	if !scu.ValidJobID(id) {
		return scu.Job{}, 0, scu.NoJob(id)
	}
	for range rounds(ctx) {
		last, m, err := b.latest(ctx, id)
		job, seq, raw := last.Job, uint64(0), []byte(nil)
		if m != nil {
			seq, raw = m.Sequence, m.Data
		}
		if err != nil || message != "" && m.Header.Get(jetstream.MsgIDHeader) == message {
			return job, seq, err
		}
		e, err := transition(job)
		if err != nil {
			return job, seq, err
		}
		if err := e.Follows(job); err != nil {
			return job, seq, err
		}
		data, err := encodeAfter(raw, job, e)
		if err != nil {
			return job, seq, scu.Errorf(scu.CodeInternal, "encode job %s: %w", id, err)
		}
		taken, err := b.room.admitWord(ctx, e, len(data))
		if err != nil {
			return job, seq, err
		}
		subject := stateSubject(id, who, e.Type)
		if e.Type == scu.EventResumed || e.Type == scu.EventRetried { // the server queues it
			l := levelOf(e.Job)
			if err := b.ensureLevel(ctx, l); err != nil {
				taken()
				return job, seq, err
			}
			subject = againSubject(id, l)
		}
		next, err := b.appendAfter(ctx, subject, id, data, seq, message)
		taken()
		if errors.Is(err, errRival) {
			continue
		}
		if err != nil {
			return job, seq, err
		}
		if e.Job.Status.Ended() && !job.Status.Ended() {
			b.dropBroken(ctx, e.Job)
		}
		return e.Job, next, nil
	}
	return scu.Job{}, 0, scu.Errorf(scu.CodeUnavailable, "job %s: lost to %d concurrent writers in a row", id, casRounds)
}

// appendAfter publishes an entry that must follow the job's entry after (0: must
// be its first), and returns its sequence, or errRival. An entry whose answer was
// lost is sent again under the same message id: if it was stored the first
// time, the server reports a rival, and the rival's id tells that it is us.
func (b *Broker) appendAfter(ctx context.Context, subject, job string, data []byte, after uint64, id string) (uint64, error) {
	for try := 1; ; try++ {
		m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{jetstream.MsgIDHeader: {id}}}
		telemetry.Mark(ctx, m.Header)
		ack, err := b.publish(ctx, m, jetstream.WithExpectLastSequenceForSubject(after, stateGuard(job)))
		if err == nil {
			b.opts.Monitor.appended()
			return ack.Sequence, nil
		}
		switch {
		case outrun(err):
			if try == 1 {
				b.opts.Monitor.rival()
				return 0, errRival
			}
			last, err := b.last(ctx, stateStream, stateGuard(job))
			if err != nil {
				return 0, err
			}
			if last.Header.Get(jetstream.MsgIDHeader) == id {
				return last.Sequence, nil
			}
			return 0, errRival
		case codeOf(err) != 0 || errors.Is(err, nats.ErrMaxPayload) || ctx.Err() != nil || try == publishTries:
			return 0, fault(err, "append to the log of job %s", job)
		}
		if err := b.full(); err != nil {
			return 0, err
		}
		b.opts.Monitor.resent()
	}
}

// publish is one publish to JetStream, bounded in time.
func (b *Broker) publish(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	ack, err := b.js.PublishMsg(ctx, m, opts...)
	if codeOf(err) == codeStillStoring {
		_ = scu.Sleep(ctx, storingTime)
	}
	return ack, err
}

// storingTime is how long an entry waits for a rival's that a cluster is just storing, so
// that who starts over finds it.
const storingTime = 10 * time.Millisecond

// codeStillStoring is a cluster's refusal of a compare-and-set while it is storing a rival's
// entry, which can't be read until then.
const codeStillStoring = jetstream.JSErrCodeStreamWrongLastSequenceConstant

// outrun reports whether a compare-and-set failed since another was faster.
func outrun(err error) bool {
	code := codeOf(err)
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == codeStillStoring
}

// last reads the last entry of a stream whose subject matches.
func (b *Broker) last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	b.reread(stream, err)
	return m, fault(err, "read stream %s", stream)
}

// message reads one entry of a stream: that of a sequence, or what the options say.
func (b *Broker) message(ctx context.Context, stream string, seq uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	m, err := s.GetMsg(ctx, seq, opts...)
	b.reread(stream, err)
	return m, fault(err, "read stream %s", stream)
}
