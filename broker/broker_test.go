package broker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/embedded"
)

// lasting are the times of a broker under test: claims that a busy machine doesn't lose.
var lasting = Options{AckWait: 2 * patience, Rescan: 200 * time.Millisecond}

// quick are those of a test that waits for claims to end. What is held lives by a sign of life
// each tenth of a claim, so that a busy machine has most of it for each.
var quick = Options{AckWait: 4 * time.Second, Rescan: lasting.Rescan}

var silent = slog.New(slog.DiscardHandler)

// patience bounds a wait for what must come, on however slow a machine.
const patience = 2 * time.Minute

// testContext ends a test that hangs.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t testing.TB, dir, listen string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Config{Rights: Rights, Dir: dir, Listen: listen, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// startPlain starts a NATS server that is none of ours.
func startPlain(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.JetStream, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true, true
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server isn't ready")
	}
	return s
}

// connect logs in with o, which names the server, and the times of lasting if o has none.
func connect(t testing.TB, o Options) *Broker {
	t.Helper()
	if o.AckWait == 0 {
		o.AckWait, o.Rescan = lasting.AckWait, lasting.Rescan
	}
	o.Log = silent
	b, err := Connect(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// newBroker is an operator's connection to a fresh in-process server.
func newBroker(t testing.TB) *Broker {
	t.Helper()
	return setUp(t, startServer(t, t.TempDir(), ""))
}

// newQuickBroker is newBroker with claims that end soon.
func newQuickBroker(t testing.TB) *Broker {
	t.Helper()
	return setUpClaims(t, startServer(t, t.TempDir(), ""), quick.AckWait)
}

func newJob(priority int) scu.Event {
	return scu.Submission(scu.Job{Name: "a test", BaseModel: "bookworm-2m", Config: scu.DefaultConfig(), Class: "cpu", Priority: priority}, time.Now())
}

// submit submits a new job and returns its id.
func submit(t testing.TB, b *Broker, priority int) string {
	t.Helper()
	e := newJob(priority)
	if _, err := b.Submit(testContext(t), e); err != nil {
		t.Fatal(err)
	}
	return e.Job.ID
}

func openQueue(t testing.TB, b *Broker, trainer string, classes ...string) *queue {
	t.Helper()
	if len(classes) == 0 {
		classes = []string{"cpu"}
	}
	q, err := b.Queue(testContext(t), trainer, classes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q.(*queue)
}

func next(t testing.TB, q *queue) *claim {
	t.Helper()
	c, err := q.Next(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return c.(*claim)
}

// start appends Start and returns the attempt.
func start(t testing.TB, b *Broker, id, trainer string) int {
	t.Helper()
	j, _, err := b.Append(testContext(t), id, trainer, func(j scu.Job) (scu.Event, error) { return j.Start(trainer, time.Now()) })
	if err != nil {
		t.Fatal(err)
	}
	return j.Attempt
}

func complete(b *Broker, id, trainer string, attempt int) error {
	_, _, err := b.Append(context.Background(), id, trainer, func(j scu.Job) (scu.Event, error) {
		return j.Complete(attempt, scu.Adapter{JobID: id}, time.Now())
	})
	return err
}

func wantCode(t testing.TB, err error, code scu.Code) {
	t.Helper()
	if scu.CodeOf(err) != code {
		t.Fatalf("got %v (%s), want code %q", err, scu.CodeOf(err), code)
	}
}

// proxy stands between a client and a server and can break the line.
type proxy struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	mute  bool // answers of the server are swallowed
}

func newProxy(t testing.TB, url string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			go func() { io.Copy(server, client); server.Close() }()
			go func() { io.Copy(muted{client, p}, server); client.Close() }()
		}
	}()
	return p
}

// cut closes every connection; new ones may come. The line is no longer mute.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns, p.mute = nil, false
}

func (p *proxy) setMute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

func (p *proxy) url() string { return "nats://" + p.Addr().String() }

type muted struct {
	w io.Writer
	p *proxy
}

func (m muted) Write(b []byte) (int, error) {
	m.p.mu.Lock()
	mute := m.p.mute
	m.p.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return m.w.Write(b)
}
