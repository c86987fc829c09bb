package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// JetStream gives a stream up for good when a write fails. The service says so,
// and goes on with all that it has when the disk takes writes again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "")
	b := setUp(t, s)
	ctx := testContext(t)
	id := submit(t, b, 0)
	q := openQueue(t, b, "t1")

	fill(t, filepath.Join(dir, "jetstream/$G/streams", stateStream))
	short := connect(t, Options{Server: s, timeout: time.Second})
	err := answered(ctx, func() error { _, err := short.Submit(ctx, newJob(0)); return err }) // it asks for the queue's level first
	wantCode(t, err, scu.CodeStorage)
	wantCode(t, b.Ping(ctx), scu.CodeStorage)

	reconnected := b.nextReconnect()
	if err := b.mendServer(ctx); err != nil {
		t.Fatal(err)
	}
	<-reconnected
	if err := b.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if c := next(t, q); c.id != id {
		t.Fatal(c.id)
	}
	start(t, b, id, "t1")
	publishSteps(t, b, id, 1, 0, 10)
	if err := b.Announce(ctx, scu.Presence{Trainer: "t1"}); err != nil {
		t.Error(err)
	}
	submit(t, b, 0)
}

// fill makes every write fail that goes to a file below dir through a descriptor
// that this process has open, as a full disk does.
func fill(t *testing.T, dir string) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	filled := 0
	for _, link := range open {
		path, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(path, dir) || filepath.Ext(path) != ".blk" {
			continue
		}
		var fd int
		if _, err := fmt.Sscan(filepath.Base(link), &fd); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		filled++
	}
	if filled == 0 {
		t.Fatalf("nothing is open below %s", dir)
	}
}

// A first key that can't be stored locks nobody out: the service stays as open as it was.
func TestKeyOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "")
	b := setUp(t, s)
	ctx := testContext(t)
	fill(t, filepath.Join(dir, "jetstream/$G/streams", kvStreamPre+apiKeysBucket))
	k, _ := newKey(t, "first", "ada")
	if err := b.AddKey(ctx, k); err == nil {
		t.Fatal("it is stored")
	}
	if made, err := b.KeysMade(ctx); made || err != nil {
		t.Errorf("there were keys: %v, %v", made, err)
	}
	reconnected := b.nextReconnect()
	if err := b.mendServer(ctx); err != nil {
		t.Fatal(err)
	}
	<-reconnected
	if err := b.AddKey(ctx, k); err != nil {
		t.Fatal(err)
	}
	if made, err := b.KeysMade(ctx); !made || err != nil {
		t.Errorf("there was a key: %v, %v", made, err)
	}
}
