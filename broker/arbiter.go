package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/singleflight"

	"github.com/shannon-control/scu"
)

// Arbiter does for trainers what they may not do themselves: it takes jobs out of the
// queue for them, writes their words into the log, and reads and stores their files, after
// it has seen in the log that the job is with the trainer that asks. Any number of them
// run, in APIs and projectors; what one knows alone is an offer that isn't taken yet and
// an upload that isn't complete.
type Arbiter struct {
	b     *Broker
	id    string
	files scu.LocalFiles // nil: it serves no files

	ctx      context.Context // of all that it does
	stop     context.CancelFunc
	heard    []*nats.Subscription
	work     sync.WaitGroup
	fetching singleflight.Group // files, by id

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session // by trainer
	offers   map[string]*offer   // by their ids
	uploads  map[string]*upload  // by their ids
	sending  map[string]*sending // by their ids
	busy     map[string]int      // questions that are being answered, by login
	ran      map[attemptOf]int   // the newest attempt that a trainer is known to have begun
}

// attemptOf is a trainer's part in a job.
type attemptOf struct{ job, trainer string }

const (
	// maxBusy bounds the questions of one login that are answered at the same time.
	maxBusy = 64
	// drainTime bounds how long an arbiter that ends answers what came before.
	drainTime = time.Second
	// maxRan bounds what an arbiter remembers of who ran what.
	maxRan = 10_000
)

// NewArbiter makes an arbiter, which trainers find from then on; Serve ends it. Without
// files it leaves questions for them to others.
func NewArbiter(b *Broker, files scu.LocalFiles) (*Arbiter, error) {
	a := &Arbiter{b: b, id: nuid.Next(), files: files,
		sessions: map[string]*session{}, offers: map[string]*offer{}, uploads: map[string]*upload{}, sending: map[string]*sending{}, busy: map[string]int{}, ran: map[attemptOf]int{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	err := a.listen()
	if err != nil {
		a.Close()
		return a, err
	}
	a.work.Go(a.knowOpenJobs)
	return a, nil
}

// knowOpenJobs reads what jobs the log has open, to keep room in it for what they will say as an
// API does. An API's supervisor may have read them by then.
func (a *Arbiter) knowOpenJobs() {
	for told := false; ; {
		err := a.b.open.readOn(a.ctx)
		if a.b.open.areKnown() {
			return
		}
		if err != nil && a.ctx.Err() == nil && !told {
			told = true
			a.b.log.Warn("an arbiter can't read the log, and keeps no room in it for what jobs will say: is its login of an older version? scu nats-auth --update gives it the right", "error", err)
		}
		if scu.Sleep(a.ctx, time.Minute) != nil {
			return
		}
	}
}

// verb answers one kind of question.
type verb func(ctx context.Context, q question) (answer, error)

// Serve answers trainers until ctx ends, and closes the arbiter then.
func (a *Arbiter) Serve(ctx context.Context) {
	<-ctx.Done()
	a.Close()
}

// listen subscribes to every question.
func (a *Arbiter) listen() error {
	for name, v := range map[string]verb{
		askNext: a.next, askStart: a.start, askRefuse: a.refuse, askLeave: a.leave,
		askSay: a.say, askHold: a.hold, askDone: a.done, askBack: a.back, askFate: a.fate,
		askPresence: a.presence, askMetrics: a.metrics, askPut: a.put, askDrop: a.drop, askPing: a.ping,
		askSaved: a.saved, askSave: a.save, askFetch: a.fetch, askForget: a.forgetSaved,
	} {
		hear := a.beside(func(m *nats.Msg) { a.answer(m, v) })
		if err := a.hear(a.b.nc, askSubject("*", name, ""), arbiters, hear); err != nil {
			return err
		}
		if err := a.hear(a.b.nc, askSubject("*", name, a.id), a.id, hear); err != nil {
			return err
		}
	}
	// What is long goes by the connection for it. The parts of a transfer are heard one
	// after another, as they were sent.
	for name, hear := range map[string]nats.MsgHandler{askChunk: a.chunk, askMore: a.more} {
		if err := a.hear(a.b.bulk, askSubject("*", name, a.id), a.id, hear); err != nil {
			return err
		}
	}
	if a.files != nil {
		if err := a.hear(a.b.bulk, askSubject("*", askFile, ""), arbiters, a.beside(a.file)); err != nil {
			return err
		}
	}
	return fault(errors.Join(a.b.nc.Flush(), a.b.bulk.Flush()), "listen to trainers")
}

func (a *Arbiter) hear(nc *nats.Conn, subject, group string, hear nats.MsgHandler) error {
	s, err := nc.QueueSubscribe(subject, group, hear)
	if err != nil {
		return fault(err, "listen to trainers")
	}
	a.heard = append(a.heard, s)
	return nil
}

// beside answers questions beside each other.
func (a *Arbiter) beside(answer func(*nats.Msg)) nats.MsgHandler {
	return func(m *nats.Msg) {
		if free := a.admit(m); free != nil {
			go func() {
				defer free()
				answer(m)
			}()
		}
	}
}

// admit counts a question in; nil if the login has too many, or if it can't be answered.
// The returned function counts it out.
func (a *Arbiter) admit(m *nats.Msg) (free func()) {
	if !answerable(m) {
		return nil
	}
	login := parseAsk(m.Subject)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.busy[login] >= maxBusy {
		return nil // it asks again
	}
	a.busy[login]++
	a.work.Add(1)
	return func() {
		defer a.work.Done()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.busy[login]--; a.busy[login] == 0 {
			delete(a.busy, login)
		}
	}
}

// answerable reports whether a question's answer goes to an inbox. Arbiters may publish
// anywhere, and whoever asks chooses where to: not into the log.
func answerable(m *nats.Msg) bool { return strings.HasPrefix(m.Reply, "_INBOX") }

// answer answers a question.
func (a *Arbiter) answer(m *nats.Msg, v verb) {
	q, err := asked(m)
	var out answer
	if err == nil {
		out, err = v(a.ctx, q)
	}
	a.reply(m, out, err)
}

// asked reads a question and sees that the login may ask in the trainer's name.
func asked(m *nats.Msg) (q question, err error) {
	if err := json.Unmarshal(m.Data, &q); err != nil {
		return q, scu.Errorf(scu.CodeInvalid, "a question that can't be read: %w", err)
	}
	if login := parseAsk(m.Subject); !SpeaksFor(login, q.Trainer) {
		return q, scu.Errorf(scu.CodeForbidden, "the login of trainer %.64q may not speak for trainer %.64q", login, q.Trainer)
	}
	if q.Job != "" && !scu.ValidJobID(q.Job) {
		return q, scu.NoJob(q.Job)
	}
	return q, nil
}

func (a *Arbiter) reply(m *nats.Msg, out answer, err error) {
	if err != nil {
		out.Error = scu.AsError(err).Brief()
	}
	out.Arbiter = a.id
	data, err := json.Marshal(out)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		a.b.log.Warn("answer a trainer", "error", err)
	}
}

// errStops is the error of what an arbiter that ends leaves to others.
var errStops = scu.Errorf(scu.CodeUnavailable, "the arbiter stops")

// Close answers what has come, and no more: offers that nobody has taken go back, and who asks
// again finds another arbiter.
func (a *Arbiter) Close() {
	for _, s := range a.heard {
		s.Drain()
	}
	for until := time.Now().Add(drainTime); time.Now().Before(until) && slices.ContainsFunc(a.heard, (*nats.Subscription).IsValid); {
		time.Sleep(time.Millisecond)
	}
	a.mu.Lock()
	a.closed = true
	offers, uploads := a.offers, a.uploads
	a.offers, a.uploads = map[string]*offer{}, map[string]*upload{}
	a.mu.Unlock()
	a.stop()
	for _, u := range uploads {
		u.abort(errStops)
	}
	for _, o := range offers {
		o.expire()
	}
	a.work.Wait()
}

// owned returns a job if it runs in that attempt, with that trainer.
func (a *Arbiter) owned(ctx context.Context, q question) (scu.Job, error) {
	job, _, err := a.b.Job(ctx, q.Job)
	if err == nil {
		err = over(job, q.Attempt)
	}
	if err == nil && job.Trainer != q.Trainer {
		err = scu.Errorf(scu.CodeConflict, "job %s is with another trainer", q.Job)
	}
	return job, err
}

// began returns the newest attempt that a trainer began of a job; 0 if it began none.
func (a *Arbiter) began(ctx context.Context, q question, atLeast int) (int, error) {
	key := attemptOf{q.Job, q.Trainer}
	a.mu.Lock()
	n := a.ran[key]
	a.mu.Unlock()
	if n >= atLeast && n > 0 {
		return n, nil
	}
	e, err := a.b.started(ctx, q.Job, q.Trainer)
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ran) >= maxRan {
		clear(a.ran)
	}
	a.ran[key] = e.Job.Attempt
	return e.Job.Attempt, nil
}

func (a *Arbiter) ping(ctx context.Context, _ question) (answer, error) {
	return answer{}, a.b.Ping(ctx)
}

func (a *Arbiter) presence(ctx context.Context, q question) (answer, error) {
	if q.Presence == nil || q.Presence.Trainer != q.Trainer {
		return answer{}, scu.Errorf(scu.CodeInvalid, "a presence of nobody, or of another")
	}
	return answer{}, a.b.Announce(ctx, *q.Presence)
}
