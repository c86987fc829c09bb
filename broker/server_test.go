package broker

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/embedded"
)

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	url := s.UserURL(TrainerUser("t1"))
	b := setUpClaims(t, s, quick.AckWait)
	ctx := testContext(t)
	running, waiting := submit(t, b, 10), submit(t, b, 0)
	q := openQueue(t, b, "t1")
	if c := next(t, q); c.id != running {
		t.Fatal(c.id)
	}
	start(t, b, running, "t1")
	publishSteps(t, b, running, 1, 0, 100)
	if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: running, Attempt: 1}, strings.NewReader("zip")); err != nil {
		t.Fatal(err)
	}
	file := scu.BlobKey{Kind: scu.FileBlob, Name: sum([]byte("data"))}
	if _, err := b.Objects().Put(ctx, file, strings.NewReader("data"), scu.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Close()
	s.Close()

	s = startServer(t, dir, "127.0.0.1:0")
	b = setUpClaims(t, s, quick.AckWait)
	if s.Password(TrainerUser("t1")) == "" || !strings.Contains(url, s.Password(TrainerUser("t1"))) {
		t.Error("passwords changed")
	}
	if j, _, err := b.Job(ctx, running); err != nil || j.Status != scu.Running || j.Attempt != 1 {
		t.Fatal(j.Status, j.Attempt, err)
	}
	got, err := newSteps(ctx, b, running)
	if err != nil {
		t.Fatal(err)
	}
	wantSteps(t, got, 1, 0, 100)
	r, _, err := b.GetAdapter(ctx, scu.AdapterKey{Job: running, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if zip, err := io.ReadAll(r); err != nil || string(zip) != "zip" {
		t.Fatal(string(zip), err)
	}
	if _, err := scu.VerifyBlob(ctx, b.Objects(), file); err != nil {
		t.Fatal(err)
	}
	// The claim of the trainer that is gone runs out; both jobs come.
	q = openQueue(t, b, "t2")
	seen := map[string]int{}
	for range 2 {
		c := next(t, q)
		seen[c.id] = c.deliveries
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if seen[running] != 2 || seen[waiting] != 1 {
		t.Fatalf("deliveries: %v", seen)
	}
}

// A trainer of a version that had no arbiters goes on with its older login, which does all
// that a trainer does then, and nothing under another name.
func TestDirectRights(t *testing.T) {
	t.Parallel()
	older := func(user string) (publish, subscribe []string, ok bool) {
		if name, is := strings.CutPrefix(user, trainerPrefix); is {
			publish, subscribe = DirectRights(name)
			return publish, subscribe, true
		}
		return Rights(user)
	}
	s, err := embedded.Start(embedded.Config{Rights: older, Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	api := setUp(t, s)
	ctx := testContext(t)
	var log lockedBuffer
	b := connectLogged(t, Options{URL: s.UserURL(TrainerUser("t1"))}, &log)

	file := scu.BlobKey{Kind: scu.FileBlob, Name: sum(randomBytes(1 << 20))}
	if _, err := api.Objects().Put(ctx, file, bytes.NewReader(randomBytes(1<<20)), scu.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	id := submit(t, api, 0)
	if err := b.Announce(ctx, scu.Presence{Trainer: "t1", Classes: []string{"cpu"}}); err != nil {
		t.Error(err)
	}
	c := next(t, openQueue(t, b, "t1"))
	attempt := start(t, b, id, "t1")
	held, release := c.Hold(ctx, attempt)
	defer release()
	if _, err := scu.VerifyBlob(ctx, b.Objects(), file); err != nil {
		t.Error(err)
	}
	saved := scu.BlobKey{Kind: scu.CheckpointBlob, Name: id + ".run.1"}
	if _, err := b.Objects().Put(ctx, saved, strings.NewReader("weights"), scu.PutOptions{}); err != nil {
		t.Error(err)
	}
	if err := b.Objects().Delete(ctx, saved); err != nil {
		t.Error(err)
	}
	publishSteps(t, b, id, attempt, 0, 10)
	for range 2 { // the second removes the chunks of the first
		if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: attempt}, bytes.NewReader(randomBytes(1<<20))); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := api.Append(ctx, id, "api", func(j scu.Job) (scu.Event, error) { return j.Cancel(time.Now()) }); err != nil {
		t.Fatal(err)
	}
	if err := api.nc.Publish(cancelSubject("t1"), []byte(id)); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
	wantCode(t, context.Cause(held), scu.CodeCancelled)
	if err := c.Ack(); err != nil {
		t.Error(err)
	}
	if log.String() != "" {
		t.Errorf("a trainer's ordinary work logs: %s", log.String())
	}

	b = connectLogged(t, Options{URL: s.UserURL(TrainerUser("t1")), timeout: 50 * time.Millisecond}, &log)
	a, err := NewAgent(b, "t1", "t1")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := answered(ctx, func() error { return a.Reach(ctx) }); scu.CodeOf(err) != scu.CodeForbidden { // so it works directly
		t.Error(err)
	}
	for name, try := range map[string]func() error{
		"submit":                 func() error { _, err := b.Submit(ctx, newJob(0)); return err },
		"state as another":       func() error { return complete(b, submit(t, api, 0), "t2", 0) },
		"presence of another":    func() error { return b.Announce(ctx, scu.Presence{Trainer: "t2"}) },
		"set up streams":         func() error { return b.Setup(ctx) },
		"purge the log":          func() error { return b.nc.Publish("$JS.API.STREAM.PURGE."+stateStream, nil) },
		"cancel another's":       func() error { return b.nc.Publish(cancelSubject("t2"), nil) },
		"listen to another":      func() error { _, err := b.listenForCancels("t2"); return err },
		"listen to all":          func() error { _, err := b.nc.SubscribeSync(">"); return err },
		"metrics of another":     func() error { return b.nc.Publish(metricsSubject(id, "t2"), nil) },
		"write a file":           func() error { return b.nc.Publish("$O."+filesBucket+".M.x", nil) },
		"another's answers":      func() error { _, err := b.nc.SubscribeSync("_INBOX_trainer-t2.>"); return err },
		"a submission's subject": func() error { return b.nc.Publish("scu.state."+id+".submit.cpu.p100", nil) },
	} {
		log.Reset()
		if name == "state as another" { // needs a transition that would be allowed
			other := submit(t, api, 0)
			try = func() error {
				_, _, err := b.Append(ctx, other, "t2", func(j scu.Job) (scu.Event, error) { return j.Start("t2", time.Now()) })
				return err
			}
		}
		log.wait(t, name, try)
	}
	if j, _, err := api.Job(ctx, id); err != nil || j.Status != scu.Cancelled {
		t.Fatal(j.Status, err)
	}
}

func TestReaderSeesLiveMetricsOnly(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	api := setUp(t, s)
	var log lockedBuffer
	b := connectLogged(t, Options{URL: s.UserURL(ReaderUser), timeout: 50 * time.Millisecond}, &log)
	sub, err := b.nc.SubscribeSync("scu.metrics.>")
	if err != nil {
		t.Fatal(err)
	}
	b.nc.Flush()
	publishSteps(t, api, scu.NewJobID(), 1, 0, 1)
	if _, err := sub.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "read a job", func() error { _, _, err := b.Job(testContext(t), scu.NewJobID()); return err })
}

func TestLogins(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	for name, o := range map[string]Options{
		"nobody":               {URL: s.URL()},
		"wrong password":       {URL: s.URL(), User: OperatorUser, Password: "guess"},
		"another's password":   {URL: s.URL(), User: OperatorUser, Password: s.Password(TrainerUser("t1"))},
		"unknown user":         {URL: s.URL(), User: "root", Password: s.Password("root")},
		"trainer with a dot":   {URL: s.URL(), User: "trainer-a.b", Password: s.Password("trainer-a.b")},
		"trainer with no name": {URL: s.URL(), User: "trainer-", Password: s.Password("trainer-")},
		"trainer called api":   {URL: s.URL(), User: "trainer-api", Password: s.Password("trainer-api")},
	} {
		o.Log = silent
		if _, err := Connect(testContext(t), o); scu.CodeOf(err) != scu.CodeUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Connect(testContext(t), Options{URL: "nats://127.0.0.1:1"})
	wantCode(t, err, scu.CodeUnavailable)
	_, err = Connect(testContext(t), Options{})
	wantCode(t, err, scu.CodeInvalid)
}

func TestPresence(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	if all, err := b.Trainers(ctx); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	for _, p := range []scu.Presence{{Trainer: "b", Classes: []string{"gpu24"}}, {Trainer: "a"}, {Trainer: "b", Classes: []string{"gpu24"}, Job: "x"}} {
		if err := b.Announce(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.Trainers(ctx)
	if err != nil || len(all) != 2 || all[0].Trainer != "a" || all[1].Job != "x" || all[1].Seen.IsZero() {
		t.Fatalf("%+v, %v", all, err)
	}
	wantCode(t, b.Announce(ctx, scu.Presence{Trainer: "a.b"}), scu.CodeInvalid)
}

func TestSetupIsRepeatable(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	if c := next(t, openQueue(t, b, "t1")); c.id != id {
		t.Fatal(c.id)
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	ch chan struct{}
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ch != nil {
		close(l.ch)
		l.ch = nil
	}
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// wait tries until a permission error was logged: on a busy machine one try may end before it asks
// for what is forbidden.
func (l *lockedBuffer) wait(t testing.TB, name string, try func() error) {
	t.Helper()
	for ctx := testContext(t); ; {
		err := try()
		l.mu.Lock()
		if strings.Contains(l.b.String(), "permissions of this user forbid it") {
			l.mu.Unlock()
			return
		}
		more := make(chan struct{})
		l.ch = more
		l.mu.Unlock()
		select {
		case <-more:
		case <-time.After(retryWait):
		case <-ctx.Done():
			t.Errorf("%s: no permission error was logged; %v", name, err)
			return
		}
	}
}

func connectLogged(t testing.TB, o Options, log io.Writer) *Broker {
	t.Helper()
	o.AckWait, o.Rescan = cmp.Or(o.AckWait, lasting.AckWait), lasting.Rescan
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	b, err := Connect(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Whatever form a list of servers has, a trainer's login is found in it: its answers
// come to inboxes of its own only.
func TestURLsOfATrainer(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	serveArbiter(t, setUp(t, s), nil)
	u := s.UserURL(TrainerUser("t1"))
	bare := strings.TrimPrefix(u, "nats://")
	for _, list := range []string{u, u + "," + u, u + ", " + s.URL(), bare, " " + bare + "," + bare} {
		a, err := NewAgent(connect(t, Options{URL: list}), "t1", "t1")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		if _, err := a.Fate(testContext(t), scu.NewJobID(), "t1"); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("%s: %v", list, err)
		}
		if name := URLTrainer(list); name != "t1" {
			t.Errorf("%s is of trainer %q", list, name)
		}
	}
	for _, other := range []string{"", s.UserURL(OperatorUser), s.URL(), "nats://u:%@h"} {
		if name := URLTrainer(other); name != "" {
			t.Errorf("%s is of trainer %q", other, name)
		}
	}
}

// A URL that is none is refused at once, and what it holds is told to nobody.
func TestURLsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"nats://u:secret@bad host:1", "nats://u:sec ret@h", "nats://u:secret@h:99999", "nats://u:secret%@h", "nats://a:1,nats://u:secret@h:x"} {
		_, err := Connect(testContext(t), Options{URL: u, Log: silent})
		wantCode(t, err, scu.CodeInvalid)
		if strings.Contains(err.Error(), "sec") {
			t.Errorf("the error tells too much: %v", err)
		}
	}
}

// A process that knows its trainers to be dead takes their jobs back: they come first,
// and long before their claims end. What others hold stays theirs.
func TestTakeBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	patient := Options{Server: s, AckWait: time.Hour, Rescan: lasting.Rescan}
	b := connect(t, patient)
	ctx := testContext(t)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	dead, other, unstarted := submit(t, b, 0), submit(t, b, 0), submit(t, b, 0)
	q := openQueue(t, b, "dead")
	for _, want := range []string{dead, other, unstarted} {
		if c := next(t, q); c.id != want {
			t.Fatal(c.id)
		}
	}
	start(t, b, dead, "dead")
	start(t, b, other, "other")
	later, urgent := submit(t, b, 0), submit(t, b, 5)
	queued(t, b)
	b.Close()
	s.Close()

	patient.Server = startServer(t, dir, "127.0.0.1:0")
	b = connect(t, patient)
	taken, err := b.TakeBack(ctx, func(j scu.Job) bool { return j.Trainer == "dead" })
	if err != nil || len(taken) != 1 || taken[0] != dead {
		t.Fatal(taken, err)
	}
	q = openQueue(t, b, "new")
	for _, want := range []string{urgent, dead, later} {
		c := next(t, q)
		if c.id != want {
			t.Fatalf("got %s; want of urgent %s, dead %s, later %s", c.id, urgent, dead, later)
		}
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if taken, err = b.TakeBack(ctx, func(scu.Job) bool { return true }); err != nil || len(taken) != 2 {
		t.Fatal(taken, err)
	}
	if c := next(t, q); c.id != other || c.deliveries != 2 {
		t.Fatal(c.id, c.deliveries)
	}
}
