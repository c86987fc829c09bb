package broker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// supervise runs a supervisor that doesn't wait long, until the test ends.
func supervise(t testing.TB, b *Broker) {
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan struct{})
	go func() { defer close(done); b.Supervise(ctx, 20*time.Millisecond) }()
	t.Cleanup(func() { cancel(); <-done })
}

// fileOf finds the one file of a stopped server's store that matches.
func fileOf(t testing.TB, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}

func cut(t testing.TB, path string, by int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-by)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The log loses its newest entries in a crash: their numbers are given out again, and
// the server, which derived the queue past them, queues none of those jobs.
func TestJobsOfACutLogAreQueued(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "")
	b := setUp(t, s)
	old := submit(t, b, 0)
	for range 3 {
		submit(t, b, 0)
	}
	queued(t, b)
	b.Close()
	s.Close()
	log := fileOf(t, dir, stateStream+"/msgs/1.blk")
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	cut(t, log, info.Size()*5/8)                                                    // one whole entry stays, and part of the next
	if err := os.Remove(fileOf(t, dir, stateStream+"/msgs/index.db")); err != nil { // as after a kill
		t.Fatal(err)
	}

	b = setUp(t, startServer(t, dir, ""))
	first, _, err := b.Job(testContext(t), old)
	if err != nil {
		t.Fatal(err)
	}
	lost := submit(t, b, 0) // under the number of one that is gone
	supervise(t, b)
	q, seen := openQueue(t, b, "t1"), map[string]bool{}
	for !seen[first.ID] || !seen[lost] { // next ends the test that waits too long
		seen[next(t, q).id] = true
	}
}

// A job that is taken out of the queue behind everybody's back returns, once.
func TestAJobInNoQueueIsPutBack(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id := submit(t, b, 0)
	queued(t, b)
	js, err := b.js.Stream(ctx, jobsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	supervise(t, b)
	q := openQueue(t, b, "t1")
	c := next(t, q)
	if c.id != id {
		t.Fatalf("got %s, want %s", c.id, id)
	}
	if err := complete(b, id, "t1", start(t, b, id, "t1")); err != nil {
		t.Fatal(err)
	}
	if err := c.Ack(); err != nil {
		t.Fatal(err)
	}
	if _, err := js.GetLastMsgForSubject(ctx, level{class: "cpu"}.job(id)); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Fatalf("it is still in the queue: %v", err)
	}
}

// A level whose stored state is damaged can't be made by its server any more.
func TestADamagedLevelIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "")
	b := setUp(t, s)
	waits := submit(t, b, 0)
	done := next(t, openQueue(t, b, "t1")) // so that the level has a state
	submit(t, b, 0)
	if err := done.Nak(0); err != nil {
		t.Fatal(err)
	}
	b.Close()
	s.Close()
	cut(t, fileOf(t, dir, jobsStream+"/obs/cpu-p100/o.dat"), 7)

	b = setUp(t, startServer(t, dir, ""))
	more := submit(t, b, 0)
	supervise(t, b)
	q, seen := openQueue(t, b, "t1"), map[string]bool{}
	for !seen[waits] || !seen[more] || len(seen) != 3 {
		seen[next(t, q).id] = true
	}
	other := connect(t, Options{Server: b.opts.Server}) // which doesn't know of it yet
	submit(t, other, 0)
	next(t, q)
}

// Streams that are lost while the service runs come again.
func TestLostStreamsAreMadeAgain(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	submit(t, b, 0)
	names := b.js.StreamNames(ctx)
	for name := range names.Name() {
		if err := b.js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := names.Err(); err != nil {
		t.Fatal(err)
	}
	supervise(t, b)
	var id string
	for id == "" {
		e := newJob(0)
		switch _, err := b.Submit(ctx, e); scu.CodeOf(err) {
		case "":
			id = e.Job.ID
		case scu.CodeUnavailable:
		default:
			t.Fatal(err)
		}
	}
	if c := next(t, openQueue(t, b, "t1")); c.id != id {
		t.Fatalf("got %s, want %s", c.id, id)
	}
}
