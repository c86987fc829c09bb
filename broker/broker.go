// Package broker keeps the service's jobs moving over NATS JetStream: the log of
// state events, the work queue and its doorbell, metrics, cancels, stored files
// and adapters. Package embedded runs a server for those who have none.
//
// What it promises:
//
//   - SCU_STATE is the source of truth. Every change of a job is one
//     compare-and-set append to it ([Broker.Submit], [Broker.Append], [Broker.Cancel]): of two rivals exactly
//     one wins, and each entry carries the whole job after it, so the last entry
//     answers for the job.
//   - SCU_JOBS, the work queue, and the doorbell that wakes idle trainers are
//     derived from the log by the server, so an accepted submission is queued
//     whatever dies next.
//   - A job that is not ended stays in the queue until a trainer has won its end.
//     A trainer that dies loses its claim after [Options].AckWait, and the job is handed out
//     again; acknowledgements carry no fence, so what counts is the log alone.
//   - Whatever comes from outside is checked before it becomes part of a subject.
//
// Errors are of type [scu.Error]: CodeUnavailable may be tried again, CodeConflict is
// final. See [Broker.Queue] and the example for how a trainer takes a job.
//
// Locks: each struct has one mutex, mu, that guards the fields below it (Broker,
// levels, doorbell, puller, cancels, Arbiter, session, Agent). None is held over a request, a
// callback or a channel that may block, and none is taken while another is held, so
// they need no order. What must happen one at a time and does wait (queue.Next,
// publishing metrics) takes a turn from a channel, which also ends with its context.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Broker is one login to NATS, over connections of their own for pulses, for metrics and
// for bulk, and everything that is done with it. It is
// safe for concurrent use.
type Broker struct {
	nc   *nats.Conn // pulses, the log and the queue: short messages that must not wait
	js   jetstream.JetStream
	bulk *nats.Conn          // the object stores
	objs jetstream.JetStream // on bulk; more patient
	log  *slog.Logger
	opts Options

	levels     levels
	open       *openJobs
	room       *logRoom
	short      shortages
	uses       func(context.Context) ([]scu.StreamUse, error) // how full the other streams are; asked seldom
	metrics    metricsLog
	jobEntries *fanout[scu.LogEntry]     // for who follows single jobs
	jobSteps   *fanout[scu.MetricsEntry] // likewise
	keysMade   atomic.Bool               // an API key was made at some time

	mu          sync.Mutex
	streams     map[string]jetstream.Stream
	buckets     map[string]jetstream.KeyValue
	deleted     map[string]bool  // jobs of which something may be left in NATS
	ailing      map[string]error // by what the supervisor last found wrong
	probed      time.Time        // when the log last took a probe
	denied      string           // what the server last forbade this user
	reconnected chan struct{}    // closed and replaced at each reconnect
}

var (
	_ scu.Log            = (*Broker)(nil)
	_ scu.Attempts       = (*Broker)(nil)
	_ scu.WorkQueue      = (*Broker)(nil)
	_ scu.Operator       = (*Broker)(nil)
	_ scu.MetricsStream  = (*Broker)(nil)
	_ scu.Adapters       = (*Broker)(nil)
	_ scu.Roster         = (*Broker)(nil)
	_ scu.SubmissionKeys = (*Broker)(nil)
	_ scu.Comparisons    = (*Broker)(nil)
	_ scu.Webhooks       = (*Broker)(nil)
	_ scu.Keys           = (*Broker)(nil)
	_ scu.FileHolders    = (*Broker)(nil)
)

// full returns an error if the server of this process stores nothing. A publish that
// gets no answer may be due to that.
func (b *Broker) full() error {
	if b.opts.Server == nil {
		return nil
	}
	err := b.opts.Server.Failure()
	if err == nil {
		return nil
	}
	return &scu.Error{Code: scu.CodeStorage, Message: "the server can't store anything now: its disk is full or failing",
		Hint: "free disk space on the server; it recovers by itself", Retry: true, Err: err}
}

// Close sends what is still buffered and closes the connections.
func (b *Broker) Close() {
	if b.nc.IsConnected() {
		if err := b.nc.FlushTimeout(b.opts.timeout); err != nil {
			b.log.Warn("closing with unsent messages", "error", err)
		}
	}
	for _, nc := range []*nats.Conn{b.nc, b.bulk, b.metrics.nc} {
		if nc != nil {
			nc.Close()
		}
	}
}

// bound gives one request to the server its time: a server that is away must not
// hold a caller for as long as a job lasts.
func (b *Broker) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.opts.timeout)
}

// stream returns the handle of a stream, asking the server once.
func (b *Broker) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	b.mu.Lock()
	s := b.streams[name]
	b.mu.Unlock()
	if s != nil {
		return s, nil
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, fault(b.missing(name, err), "stream %s", name)
	}
	b.mu.Lock()
	b.streams[name] = s
	b.mu.Unlock()
	return s, nil
}

// reread forgets the handle of a stream that couldn't be read with it, but for what isn't there:
// the stream may be read in another way since it was given replicas.
func (b *Broker) reread(name string, err error) {
	if err == nil || errors.Is(err, jetstream.ErrMsgNotFound) {
		return
	}
	b.mu.Lock()
	delete(b.streams, name)
	b.mu.Unlock()
}

// nextReconnect returns a channel that is closed at the next reconnect, after
// which whatever was sent without storage may be lost.
func (b *Broker) nextReconnect() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reconnected
}

// fault makes an error of NATS one of the service's; nil stays nil.
func fault(err error, format string, args ...any) error {
	var known *scu.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	args = append(args, err)
	silent := format + ": NATS does not answer: %w"
	format += ": %w"
	code := codeOf(err)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return scu.Errorf(scu.CodeTooLarge, format, args...)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrPermissionViolation):
		return scu.Errorf(scu.CodeForbidden, format, args...).WithHint("check the NATS user and its permissions")
	case code == codeStoreFailed && strings.Contains(err.Error(), "maximum bytes"):
		return scu.Errorf(scu.CodeStorage, format, args...).WithHint("its stream is full, of which scu health tells: the administrator can raise its limit, log-max-bytes (SCU_LOG_MAX_BYTES) for jobs and store-max-bytes for adapters, files and checkpoints; nats stream edit raises that of a KV_SCU_ bucket")
	case code == codeNoResources || code == codeNoMemory || code == codeNoStorage:
		return scu.Errorf(scu.CodeStorage, format, args...).WithHint("free disk space or raise the JetStream limits")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return scu.Errorf(scu.CodeUnavailable, silent, args...).WithHint("try again; is the NATS server up?")
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return scu.Errorf(scu.CodeUnavailable, format, args...).WithHint("start the API first: it sets up the streams")
	}
	return scu.Errorf(scu.CodeUnavailable, format, args...)
}

// codeOf is the code of an error of JetStream; 0 of another, or of none.
func codeOf(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}

// Codes of the JetStream API that its client package has no name for.
const (
	codeNoResources jetstream.ErrorCode = 10023 // memory or disk of the server
	codeNoMemory    jetstream.ErrorCode = 10028 // the account's or server's limit of memory
	codeNoStorage   jetstream.ErrorCode = 10047 // the account's or server's storage limit
	codeStoreFailed jetstream.ErrorCode = 10077 // a stream refuses a message
)

// invalid is the error of a token from outside that can't be part of a subject.
func invalid(what, token string) error {
	if len(token) > 80 {
		token = token[:80] + "..."
	}
	return scu.Errorf(scu.CodeInvalid, "invalid %s %q", what, token)
}
