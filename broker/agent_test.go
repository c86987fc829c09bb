package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
)

// serveArbiter runs an arbiter until the test or stop ends it.
func serveArbiter(t testing.TB, b *Broker, files scu.LocalFiles) (stop func()) {
	t.Helper()
	a, err := NewArbiter(b, files)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { a.Serve(ctx); close(over) }()
	stop = func() { cancel(); <-over }
	t.Cleanup(stop)
	return stop
}

// arbitrated sets up a server with an arbiter, and returns the API's login and the files that
// the arbiter gives trainers.
func arbitrated(t testing.TB, s Server, claimTime time.Duration) (*Broker, *files.Store) {
	t.Helper()
	b := setUpClaims(t, s, claimTime)
	store, err := files.New(b.Objects(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	serveArbiter(t, b, store)
	return b, store
}

// arbitratedApart sets up a server whose arbiter is a projector's, which has a login of its
// own, and returns the API's login and files. When the test ends, nothing was forbidden to
// the arbiter.
func arbitratedApart(t testing.TB, s writtenServer, claimTime time.Duration) (*Broker, *files.Store) {
	t.Helper()
	api := setUpClaims(t, s, claimTime)
	var log lockedBuffer
	b := connectLogged(t, Options{URL: s.UserURL(ArbiterUser), AckWait: claimTime}, &log)
	read, err := files.New(b.Objects(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	serveArbiter(t, b, read)
	t.Cleanup(func() {
		if said := log.String(); strings.Contains(said, nats.PERMISSIONS_ERR) {
			t.Errorf("the arbiter's login lacks a right: %s", said)
		}
	})
	uploads, err := files.New(api.Objects(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return api, uploads
}

// serverOfUsers is a server whose users have passwords.
type serverOfUsers interface {
	Server
	UserURL(user string) string
}

// newAgent logs in as a trainer.
func newAgent(t testing.TB, server Server, name string) *Agent {
	t.Helper()
	b := connect(t, Options{Server: server, User: TrainerUser(name), timeout: 2 * time.Second})
	a, err := NewAgent(b, name, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func waitFor(t testing.TB, a *Agent) scu.Queue {
	t.Helper()
	q, err := a.Queue(testContext(t), a.trainer, []string{"cpu"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// take waits for the next job and starts it.
func take(t testing.TB, a *Agent, q scu.Queue) (scu.Claim, scu.Job) {
	t.Helper()
	for {
		c, err := q.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		j, err := a.Say(testContext(t), c.Job().ID, a.trainer, scu.Word{Type: scu.EventStarted})
		if err == nil {
			return c, j
		}
		if scu.CodeOf(err) != scu.CodeConflict { // the offer was over: a busy machine began too late
			t.Fatal(err)
		}
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

// A trainer whose login may only ask arbiters does all that a trainer does, and nothing
// that it does is forbidden; nor to the arbiter that isn't the API's.
func TestAgent(t *testing.T) {
	t.Parallel()
	const claimTime = 10 * time.Second // a sign of life is late after a fifth of it, and then logged
	t.Run("arbiter of the API", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, t.TempDir(), "127.0.0.1:0")
		api, store := arbitrated(t, s, claimTime)
		ordinaryWork(t, s, api, store, claimTime)
	})
	t.Run("arbiter of a projector", func(t *testing.T) {
		t.Parallel()
		s := startWritten(t, "t1")
		api, store := arbitratedApart(t, s, claimTime)
		ordinaryWork(t, s, api, store, claimTime)
	})
}

func ordinaryWork(t *testing.T, s serverOfUsers, api *Broker, store *files.Store, claimTime time.Duration) {
	ctx := testContext(t)
	text := randomBytes(3<<20 + 17)
	file, err := store.Put(ctx, "x", bytes.NewReader(text), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	b := connectLogged(t, Options{URL: s.UserURL(TrainerUser("t1"))}, &log)
	a, err := NewAgent(b, "t1", "t1")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Announce(ctx, scu.Presence{Trainer: "t1", Classes: []string{"cpu"}}); err != nil {
		t.Error(err)
	}
	if all, err := api.Trainers(ctx); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
	q := waitFor(t, a)
	e := newJob(0)
	e.Job.TrainData = file
	if _, err := api.Submit(ctx, e); err != nil {
		t.Fatal(err)
	}
	c, j := take(t, a, q)
	if j.ID != e.Job.ID || j.Trainer != "t1" || j.Attempt != 1 || j.Status != scu.Running {
		t.Fatalf("%+v", j)
	}
	held, release := c.Hold(ctx, j.Attempt)
	own, err := files.New(a.Objects(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path, err := own.Local(ctx, file.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Fatalf("the file has %d bytes: %v", len(got), err)
	}
	say := func(w scu.Word) scu.Job {
		t.Helper()
		w.Attempt = j.Attempt
		now, err := a.Say(ctx, j.ID, "t1", w)
		if err != nil {
			t.Fatalf("%s: %v", w.Type, err)
		}
		return now
	}
	say(scu.Word{Type: scu.EventPhase, Phase: scu.PreparingData})
	say(scu.Word{Type: scu.EventPhase, Phase: scu.Training, Steps: 1000})
	steps, err := newSteps(ctx, api, j.ID)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		if err := a.PublishMetrics(ctx, "t1", step(j.ID, 1, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.FlushMetrics(ctx); err != nil {
		t.Fatal(err)
	}
	wantSteps(t, steps, 1, 0, 1000)
	zip := randomBytes(5<<20 + 3)
	for _, key := range []scu.AdapterKey{{Job: j.ID, Attempt: 1, Step: 7}, {Job: j.ID, Attempt: 1}, {Job: j.ID, Attempt: 1, Step: 9}} {
		size, digest, err := a.PutAdapter(ctx, key, bytes.NewReader(zip))
		if err != nil || size != int64(len(zip)) || digest != sum(zip) {
			t.Fatal(size, digest, err)
		}
	}
	if err := a.DeleteAdapter(ctx, scu.AdapterKey{Job: j.ID, Attempt: 1, Step: 9}); err != nil {
		t.Error(err)
	}
	if now := say(scu.Word{Type: scu.EventCheckpoint, Checkpoint: &scu.Checkpoint{Step: 7}}); len(now.Checkpoints) != 1 {
		t.Error(now.Checkpoints)
	}
	time.Sleep(claimTime * 3 / 2) // the claim lives by its signs of life
	if held.Err() != nil {
		t.Fatal(context.Cause(held))
	}
	release()
	if now := say(scu.Word{Type: scu.EventCompleted, Adapter: &scu.Adapter{Name: "x.zip"}}); now.Status != scu.Completed {
		t.Error(now.Status)
	}
	if err := c.Ack(); err != nil {
		t.Error(err)
	}
	if n := queued(t, api); n != 0 {
		t.Errorf("%d jobs in the queue", n)
	}
	r, _, err := api.GetAdapter(ctx, scu.AdapterKey{Job: j.ID, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, zip) {
		t.Error(len(got), err)
	}
	if err := a.Ping(ctx); err != nil {
		t.Error(err)
	}
	if log.String() != "" {
		t.Errorf("a trainer's ordinary work logs: %s", log.String())
	}
}

// A cancel and a stop reach the trainer at once; a job that is handed back comes again, and
// with a delay not before it.
func TestAgentIsTold(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	api, ctx := setUp(t, s), testContext(t)
	serveArbiter(t, api, nil)
	a := newAgent(t, s, "t1")
	q := waitFor(t, a)
	id := submit(t, api, 0)
	c, j := take(t, a, q)
	held, release := c.Hold(ctx, j.Attempt)
	if _, _, err := api.Stop(ctx, id); err != nil {
		t.Fatal(err)
	}
	<-c.Stopping()
	release()
	<-held.Done()
	if _, err := a.Say(ctx, id, "t1", scu.Word{Type: scu.EventHandedBack, Attempt: 1, Warnings: []string{"why"}}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := c.Nak(quick.AckWait); err != nil {
		t.Fatal(err)
	}
	c, j = take(t, a, q)
	if took := time.Since(begin); j.ID != id || j.Attempt != 2 || took < quick.AckWait || !slices.Equal(j.Warnings, []string{"why"}) {
		t.Fatal(j.ID, j.Attempt, took, j.Warnings)
	}
	held, release = c.Hold(ctx, j.Attempt)
	defer release()
	if _, _, err := api.Cancel(ctx, id); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
	wantCode(t, context.Cause(held), scu.CodeCancelled)
	if j, err := a.Fate(ctx, id, "t1"); err != nil || j.Status != scu.Cancelled {
		t.Error(j.Status, err)
	}
	if err := c.Ack(); err != nil {
		t.Error(err)
	}
	if _, err := a.Fate(ctx, scu.NewJobID(), "t1"); scu.CodeOf(err) != scu.CodeNotFound {
		t.Error(err)
	}
}

// An offer that isn't taken goes to another trainer; a trainer that leaves gets none.
func TestOffersGoOn(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	api, ctx := setUp(t, s), testContext(t)
	serveArbiter(t, api, nil)
	slow, quickly := newAgent(t, s, "slow"), newAgent(t, s, "quick")
	id := submit(t, api, 0)
	first := waitFor(t, slow)
	c, err := first.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, j := take(t, quickly, waitFor(t, quickly))
	if j.ID != id || j.Trainer != "quick" || j.Attempt != 1 {
		t.Fatalf("%+v", j)
	}
	_, err = slow.Say(ctx, id, "slow", scu.Word{Type: scu.EventStarted})
	wantCode(t, err, scu.CodeConflict)
	if err := c.Ack(); err != nil {
		t.Error(err)
	}
	leaving, leave := context.WithCancel(ctx)
	gone := make(chan error)
	go func() { _, err := first.Next(leaving); gone <- err }()
	time.Sleep(50 * time.Millisecond)
	leave()
	<-gone
	second := submit(t, api, 0)
	other := newAgent(t, s, "other")
	if _, j := take(t, other, waitFor(t, other)); j.ID != second || j.Trainer != "other" {
		t.Fatalf("%+v", j)
	}
}

// Arbiters come and go under a running job: whichever is there knows from the log what it
// needs, and what is asked again has no effect twice.
func TestArbitersComeAndGo(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	api, ctx := setUp(t, s), testContext(t)
	a := newAgent(t, s, "t1")
	id := submit(t, api, 0)
	q := waitFor(t, a)
	first := make(chan func(), 1)
	time.AfterFunc(100*time.Millisecond, func() { first <- serveArbiter(t, api, nil) }) // the trainer is there first
	c, j := take(t, a, q)
	stop := <-first
	held, release := c.Hold(ctx, j.Attempt)
	defer release()
	metrics, err := newSteps(ctx, api, id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		stop()
		done := make(chan error)
		go func() {
			_, err := a.Say(ctx, id, "t1", scu.Word{Type: scu.EventPhase, Attempt: 1, Phase: scu.PreparingData, Warnings: []string{fmt.Sprint(i)}})
			done <- err
		}()
		for n := i * 10; n < i*10+10; n++ {
			if err := a.PublishMetrics(ctx, "t1", step(id, 1, n)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
		stop = serveArbiter(t, api, nil)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	wantSteps(t, metrics, 1, 0, 40)
	word := question{Job: id, ID: "the same", Word: &scu.Word{Type: scu.EventPhase, Attempt: 1, Phase: scu.SavingAdapter}}
	_, before, err := api.Job(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := a.ask(ctx, patience, askSay, "", word); err != nil {
			t.Fatal(err)
		}
	}
	if _, seq, err := api.Job(ctx, id); err != nil || seq != before+1 {
		t.Errorf("a word that was said three times made %d entries: %v", seq-before, err)
	}
	if held.Err() != nil {
		t.Error(context.Cause(held))
	}
	if _, err := a.Say(ctx, id, "t1", scu.Word{Type: scu.EventFailed, Attempt: 1, Error: scu.Errorf(scu.CodeInternal, "no")}); err != nil {
		t.Fatal(err)
	}
	if err := c.Ack(); err != nil || queued(t, api) != 0 {
		t.Error(err)
	}
}

// A login speaks for the further GPUs of its process, and for nobody else.
func TestFurtherTrainers(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		login, trainer string
		may            bool
	}{
		{"a", "a", true}, {"a", "a-2", true}, {"a", "a-17", true}, {"a", "b", false}, {"a", "a-", false}, {"a", "a-b", false},
		{"a", "a2", false}, {"a-2", "a", false}, {"a", "api", false}, {"api", "api", false}, {"a", "", false}, {"a", "a.b", false},
	} {
		if SpeaksFor(x.login, x.trainer) != x.may {
			t.Errorf("%s for %s", x.login, x.trainer)
		}
	}
	s := startServer(t, t.TempDir(), "")
	api, ctx := setUp(t, s), testContext(t)
	serveArbiter(t, api, nil)
	b := connect(t, Options{Server: s, User: TrainerUser("host")})
	second, err := NewAgent(b, "host", "host-2")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	id := submit(t, api, 0)
	q := waitFor(t, second)
	c, j := take(t, second, q)
	if j.Trainer != "host-2" {
		t.Error(j.Trainer)
	}
	held, release := c.Hold(ctx, j.Attempt)
	defer release()
	if _, _, err := api.Cancel(ctx, id); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
	wantCode(t, context.Cause(held), scu.CodeCancelled)
}

// How many jobs of an owner run at once holds for trainers that ask, as long as their jobs
// run; and owners take turns with a trainer from one job to the next.
func TestAgentsTakeTurns(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	api, ctx := setUpClaims(t, s, quick.AckWait), testContext(t)
	serveArbiter(t, api, nil)
	if err := api.LimitRunning(ctx, map[string]int{"ada": 1}); err != nil {
		t.Fatal(err)
	}
	first := submitOf(t, api, "ada", 0)
	a, b := newAgent(t, s, "a"), newAgent(t, s, "b")
	one, two := waitFor(t, a), waitFor(t, b)
	c, j := take(t, a, one)
	if j.ID != first {
		t.Fatal(j.ID)
	}
	_, release := c.Hold(ctx, j.Attempt)
	second := submitOf(t, api, "ada", 0)
	short, cancel := context.WithTimeout(ctx, 3*quick.AckWait)
	defer cancel()
	if c, err := two.Next(short); err == nil {
		t.Fatalf("job %s of the same owner runs beside", c.Job().ID)
	}
	end := func(a *Agent, c scu.Claim, j scu.Job) {
		t.Helper()
		if _, err := a.Say(ctx, j.ID, a.trainer, scu.Word{Type: scu.EventCompleted, Attempt: j.Attempt, Adapter: &scu.Adapter{}}); err != nil {
			t.Fatal(err)
		}
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	release()
	end(a, c, j)
	if c, j = take(t, b, two); j.ID != second {
		t.Fatal(j.ID)
	}
	end(b, c, j)
	var owners string
	for range 3 {
		submitOf(t, api, "bob", 0)
		submitOf(t, api, "eve", 0)
	}
	queued(t, api)
	for range 6 {
		c, j := take(t, a, one)
		owners += j.Owner[:1]
		end(a, c, j)
	}
	if owners != "bebebe" && owners != "ebebeb" {
		t.Error(owners)
	}
}
