package broker

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// Server is a NATS server of this process: an embedded.Server.
type Server interface {
	nats.InProcessConnProvider
	// Password is the password of a user; see Rights.
	Password(user string) string
	// Failure returns why the server stores nothing; nil if it works.
	Failure() error
	// Revive makes a server that stores nothing store again.
	Revive() error
	// Disconnect makes every client connect again.
	Disconnect() error
}

// Options say where NATS is and who connects. Either Server or URL is needed.
type Options struct {
	// Server is the server of this process; no socket is used.
	Server Server
	// URL of a server or, comma-separated, of a cluster's; it may hold user and
	// password.
	URL string

	// Name is shown in NATS's monitoring. Default "scu".
	Name string
	// User and Password log in. Default with Server: the operator. A trainer's
	// user is TrainerUser(name), whose permissions end at its own name.
	User, Password string

	// AckWait is how long a claim lasts without a sign of life; a dead trainer's
	// job is handed out again after it. The same for every role. Default 30 s;
	// shorter finds dead trainers sooner and costs more messages.
	AckWait time.Duration
	// Rescan is how often an idle trainer looks at every level, since jobs that
	// are handed out again ring no bell. Default 10 s.
	Rescan time.Duration
	// MaxTries is how many attempts in a row may begin and end without a word, none
	// getting further, before a job fails as one that kills its trainers. Default 5.
	MaxTries int
	// Ageing is how long a queued job waits to count as one point of priority more; see
	// [scu.Due]. The same for every role. 0: jobs don't age.
	Ageing time.Duration
	// Replicas of each stream. Default 3 in a cluster of NATS servers, 1 without one.
	Replicas int
	// LogBytes bounds the log, which takes no new jobs when the rest is needed by those that
	// are in it and have not ended; MetricsBytes and MetricsAge the metrics, whose oldest steps
	// go. Setup applies them. Defaults DefaultLogBytes, DefaultMetricsBytes (both less if NATS
	// has less storage, more if more is stored) and DefaultMetricsAge.
	LogBytes, MetricsBytes int64
	// StoreBytes bounds each of the object stores: adapters, files, checkpoints. What would go
	// beyond it is refused. Default DefaultStoreBytes with Server, none with URL.
	StoreBytes int64
	MetricsAge time.Duration

	// Blobs is where adapters and checkpoints are kept, if not in NATS's object store.
	Blobs scu.Blobs

	// Now is the clock that entries of the log are dated by. Default time.Now.
	Now func() time.Time
	// Log takes what happens to the connection. Default slog.Default().
	Log *slog.Logger
	// Monitor counts for Prometheus. Default: nobody counts.
	Monitor *Monitor

	timeout  time.Duration // of one request; tests shorten it
	nakPause time.Duration // see nakPause; tests lengthen it
}

func (o *Options) defaults() {
	if o.Name == "" {
		o.Name = "scu"
	}
	if o.AckWait == 0 {
		o.AckWait = 30 * time.Second
	}
	if o.Rescan == 0 {
		o.Rescan = 10 * time.Second
	}
	if o.MetricsAge == 0 {
		o.MetricsAge = DefaultMetricsAge
	}
	if o.MaxTries == 0 {
		o.MaxTries = 5
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.timeout == 0 {
		o.timeout = 5 * time.Second
	}
	if o.nakPause == 0 {
		o.nakPause = nakPause
	}
	if o.Server != nil {
		if o.User == "" {
			o.User = OperatorUser
		}
		if o.Password == "" {
			o.Password = o.Server.Password(o.User)
		}
	} else if o.User == "" {
		o.User, o.Password = login(o.URL)
	}
}

// Connect logs in to NATS; CodeUnavailable if nobody answers, CodeUnauthorized
// if the login is refused. A connection that breaks later is restored for ever.
func Connect(ctx context.Context, o Options) (*Broker, error) {
	o.defaults()
	if o.Server == nil && o.URL == "" {
		return nil, scu.Errorf(scu.CodeInvalid, "no NATS server: neither embedded nor a URL")
	}
	if err := checkURLs(o.URL); err != nil {
		return nil, err
	}
	b := &Broker{log: o.Log, opts: o,
		streams: map[string]jetstream.Stream{}, buckets: map[string]jetstream.KeyValue{}, ailing: map[string]error{}, deleted: map[string]bool{}, levels: levels{known: map[level]time.Time{}, making: map[level]chan struct{}{}}, reconnected: make(chan struct{})}
	b.open, b.room = newOpenJobs(b), newLogRoom(b)
	b.jobEntries = newFanout(b, stateStream, func(p scu.Position) uint64 { return p.State }, parseLogEntry)
	b.jobSteps = newFanout(b, metricsStream, func(p scu.Position) uint64 { return p.Metrics }, parseMetricsEntry)
	b.uses = scu.Recently(othersAge, b.askUses)
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.PingInterval(10 * time.Second),
		nats.CustomInboxPrefix(inboxPrefix(o.User)),
		nats.DisconnectErrHandler(b.onDisconnect),
		nats.ReconnectHandler(b.onReconnect),
		nats.ErrorHandler(b.onError),
	}
	if deadline, ok := ctx.Deadline(); ok {
		opts = append(opts, nats.Timeout(max(time.Until(deadline), time.Millisecond)))
	}
	if o.Server != nil {
		opts = append(opts, nats.InProcessServer(o.Server))
	}
	if o.User != "" {
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	nc, err := nats.Connect(o.URL, opts...)
	if errors.Is(err, nats.ErrAuthorization) {
		return nil, scu.Errorf(scu.CodeUnauthorized, "NATS refused user %q: %w", o.User, err).WithHint("check the user and password of the NATS URL")
	}
	if err != nil {
		return nil, scu.Errorf(scu.CodeUnavailable, "connect to NATS: %w", err).WithHint("is the server up, and is its URL right?")
	}
	b.nc = nc
	// These break and come back beside the first, which tells of it.
	opts = append(opts, nats.DisconnectErrHandler(nil), nats.ReconnectHandler(nil))
	if b.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(o.timeout)); err == nil {
		err = b.openBulk(opts)
	}
	if err == nil {
		err = b.metrics.init(o.URL, opts, o.timeout)
	}
	if err != nil {
		b.Close()
		return nil, fault(err, "set up JetStream")
	}
	return b, nil
}

// openBulk makes the connection of adapters and files. On the one of pulses a long upload
// over a slow line would hold up a claim's signs of life until the claim is lost.
func (b *Broker) openBulk(opts []nats.Option) (err error) {
	if b.bulk, err = nats.Connect(b.opts.URL, opts...); err != nil {
		return err
	}
	b.objs, err = jetstream.New(b.bulk, jetstream.WithDefaultTimeout(stallTimeout))
	return err
}

// parseURL reads one server of a list, as NATS's client does: without a scheme it is
// nats://.
func parseURL(server string) (*url.URL, error) {
	server = strings.TrimSpace(server)
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	return url.Parse(server)
}

// checkURLs refuses what can't be a list of NATS servers. It doesn't repeat what it
// refuses, which may hold a password.
func checkURLs(list string) error {
	for server := range strings.SplitSeq(list, ",") {
		u, err := parseURL(server)
		if err == nil && u.Port() != "" {
			_, err = strconv.ParseUint(u.Port(), 10, 16)
		}
		if err != nil {
			return scu.Errorf(scu.CodeInvalid, "invalid NATS URL").
				WithHint("use the form nats://user:password@host:4222, with special characters in the password percent-encoded")
		}
	}
	return nil
}

// login is the user and the password that a list of NATS servers begins with.
func login(list string) (user, password string) {
	first, _, _ := strings.Cut(list, ",")
	u, err := parseURL(first)
	if err != nil {
		return "", ""
	}
	password, _ = u.User.Password()
	return u.User.Username(), password
}

// URLTrainer returns the name of the trainer whose login a NATS URL holds, "" if it
// holds another or none.
func URLTrainer(list string) string {
	user, _ := login(list)
	name, ok := strings.CutPrefix(user, trainerPrefix)
	if !ok {
		return ""
	}
	return name
}

// inboxPrefix gives each user answers that no other can read.
func inboxPrefix(user string) string {
	if !scu.ValidClass(user) {
		return nats.InboxPrefix[:len(nats.InboxPrefix)-1]
	}
	return "_INBOX_" + user
}

func (b *Broker) onDisconnect(_ *nats.Conn, err error) {
	if err != nil {
		b.log.Warn("lost NATS, reconnecting", "error", err)
	}
}

func (b *Broker) onReconnect(nc *nats.Conn) {
	b.log.Info("reconnected to NATS", "server", nc.ConnectedUrlRedacted())
	b.opts.Monitor.reconnected()
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.reconnected)
	b.reconnected = make(chan struct{})
}

// onError logs what NATS reports out of band. A denied publish is seen by its
// sender as a timeout only; the reason comes here.
func (b *Broker) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		b.log.Error("NATS permissions of this user forbid it", "user", b.opts.User, "error", err)
		b.mu.Lock()
		b.denied = err.Error()
		b.mu.Unlock()
		return
	}
	b.log.Warn("NATS", "subject", subject, "error", err)
}
