package retention_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/retention"
	"github.com/shannon-control/scu/store/sqlite"
)

// A clock that is set a day ahead, and back, lets nothing go that isn't old: neither before a
// collection nor in the middle of one. Once it stays, it is believed.
func TestClockIsSet(t *testing.T) {
	s := start(t)
	f := s.file("of just now")
	id := s.submit(s.file("of a job"))
	s.end(id, 10)
	s.settle()
	ahead := time.Duration(0)
	jump := func() { ahead = 25 * time.Hour }
	c := s.collector(0, "files=1d,jobs=1d", nil)
	c.Now = func() time.Time { return time.Now().Add(ahead) }
	c.Log = timed{s.b, c.Now} // on the same machine
	collect := func(want scu.Code, gone int) {
		t.Helper()
		all, err := c.Collect(t.Context())
		if scu.CodeOf(err) != want || len(ids(all)) != gone {
			t.Errorf("%v, %v: want %q and %d gone", ids(all), err, want, gone)
		}
	}
	collect("", 0)
	jump()
	collect(scu.CodeUnavailable, 0)
	ahead = 0
	collect(scu.CodeUnavailable, 0)
	collect("", 0)
	if !s.there(f.ID) {
		t.Fatal("a file of just now is gone")
	}

	// In the pause between mark and deletion, of what a clock a day ahead chose, it is set back.
	jump()
	collect(scu.CodeUnavailable, 0)
	wait := c.Wait
	c.Wait = func(ctx context.Context, d time.Duration) error { ahead = 0; return wait(ctx, d) }
	if _, err := c.Collect(t.Context()); scu.CodeOf(err) != scu.CodeUnavailable || !s.there(f.ID) {
		t.Errorf("%v; there: %v", err, s.there(f.ID))
	}
	c.Wait = wait
	collect("", 0)

	jump()
	collect(scu.CodeUnavailable, 0)
	collect("", 2)
	if s.there(f.ID) {
		t.Error("a file that is old by a clock that stays is there")
	}
}

// Who asks for a collection while the clock is set takes nothing from who collects every hour: that
// one sees the step too, in the middle of its own. Of two who ask at once one is told to wait.
func TestClockIsSetBesideAnother(t *testing.T) {
	s := start(t)
	f := s.file("of just now")
	s.settle()
	ahead := time.Duration(0)
	now := func() time.Time { return time.Now().Add(ahead) }
	asked, hourly := s.collector(0, "files=1d", nil), s.collector(0, "files=1d", nil)
	asked.Now, hourly.Now = now, now
	asked.Log, hourly.Log = timed{s.b, now}, timed{s.b, now}
	for _, c := range []*retention.Collector{asked, hourly} {
		if all, err := c.Collect(t.Context()); err != nil || len(all) != 0 {
			t.Fatal(all, err)
		}
	}
	hourly.Blobs = planned{hourly.Blobs, func() { t.Error("nothing asks for adapters") }}
	hourly.Store = looked{hourly.Store, func() { // its plan will be by a clock that is a day ahead
		ahead = 25 * time.Hour
		if all, err := asked.Collect(t.Context()); scu.CodeOf(err) != scu.CodeUnavailable {
			t.Errorf("asked beside it: %v, %v", all, err)
		}
		if all, err := hourly.Collect(t.Context()); scu.CodeOf(err) != scu.CodeConflict {
			t.Errorf("a second one at once: %v, %v", all, err)
		}
	}}
	if all, err := hourly.Collect(t.Context()); scu.CodeOf(err) != scu.CodeUnavailable || !s.there(f.ID) {
		t.Errorf("%v, %v: a file of just now is there: %v", all, err, s.there(f.ID))
	}
}

// An API that was started with a clock that is a day ahead, or behind, of NATS's collects nothing; one
// that is a quarter of an hour off, as may be, does.
func TestClockIsAnother(t *testing.T) {
	s := start(t)
	f := s.file("of just now")
	s.settle()
	for _, c := range []struct {
		ahead time.Duration
		code  scu.Code
	}{{25 * time.Hour, scu.CodeUnavailable}, {-25 * time.Hour, scu.CodeUnavailable}, {15 * time.Minute, ""}, {-15 * time.Minute, ""}} {
		collector := s.collector(c.ahead, "files=1d", nil)
		collector.Log = s.b
		for range 2 { // it doesn't come to believe it
			if all, err := collector.Collect(t.Context()); scu.CodeOf(err) != c.code || len(all) != 0 {
				t.Errorf("%s ahead: %v, %v", c.ahead, all, err)
			}
		}
	}
	if !s.there(f.ID) {
		t.Error("a file of just now is gone")
	}
}

// looked is a read model that something happens before it is read.
type looked struct {
	scu.ReadModel
	then func()
}

func (l looked) Position(ctx context.Context) (scu.Position, error) {
	l.then()
	return l.ReadModel.Position(ctx)
}

// halting is a collector's log that says where it is, and stands there.
type halting struct {
	retention.Log
	at string
}

func (h halting) halt(at string) {
	if h.at == at {
		fmt.Println(at)
		select {}
	}
}

func (h halting) BeginDeletion(ctx context.Context, id string, mark uint64) error {
	h.halt("marked")
	err := h.Log.BeginDeletion(ctx, id, mark)
	h.halt("begun")
	return err
}

func (h halting) EndDeletion(ctx context.Context, id string) error {
	h.halt("deleted")
	return h.Log.EndDeletion(ctx, id)
}

// collectorVariable has a process collect, and stand in the middle: at, NATS URL, database and folder.
const collectorVariable = "RETENTION_TEST_COLLECTOR"

func TestMain(m *testing.M) {
	if what := os.Getenv(collectorVariable); what != "" {
		if err := collectAndStand(strings.Split(what, "|")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func collectAndStand(args []string) error {
	ctx, silent := context.Background(), slog.New(slog.DiscardHandler)
	b, err := broker.Connect(ctx, broker.Options{URL: args[1], Log: silent})
	if err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, args[2])
	if err != nil {
		return err
	}
	f, err := files.Open(args[3])
	if err != nil {
		return err
	}
	policy, err := scu.ParseRetention([]string{"files=1d"})
	if err != nil {
		return err
	}
	now := func() time.Time { return time.Now().Add(48 * time.Hour) }
	c := retention.Collector{Policy: policy, Log: halting{Log: timed{b, now}, at: args[0]}, Store: s, Files: f, Blobs: b.Blobs(), Shared: b.Objects(),
		Now:  now,
		Wait: func(context.Context, time.Duration) error { return nil }}
	_, err = c.Collect(ctx)
	return fmt.Errorf("it collected: %w", err)
}

// A collector that is killed in the middle leaves a file whole or gone, and its marks hold up
// nobody longer than they last: what comes after collects the rest.
func TestCollectorIsKilled(t *testing.T) {
	database, folder := t.TempDir()+"/scu.db", t.TempDir()
	s, server := startIn(t, "127.0.0.1:0", database, folder)
	for _, c := range []struct {
		at    string
		there bool
		code  scu.Code // of a submission that reads the file
	}{
		{"marked", true, ""},
		{"begun", true, scu.CodeUnavailable},
		{"deleted", false, scu.CodeUnavailable},
	} {
		f := s.file("killed when it had " + c.at)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), collectorVariable+"="+strings.Join([]string{c.at, server.UserURL(broker.OperatorUser), database, folder}, "|"))
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		said, err := bufio.NewReader(out).ReadString('\n')
		must(t, child.Process.Kill())
		child.Wait()
		if err != nil || strings.TrimSpace(said) != c.at {
			t.Fatalf("%s: %q, %v", c.at, said, err)
		}
		if there := s.there(f.ID); there != c.there {
			t.Errorf("%s: it is there: %v", c.at, there)
		}
		if c.there {
			path, err := s.files.Local(t.Context(), f.ID) // checked
			must(t, err)
			if data, err := os.ReadFile(path); err != nil || string(data) != "killed when it had "+c.at {
				t.Errorf("%s: %q, %v", c.at, data, err)
			}
		}
		e := s.submission(f)
		if _, err := s.b.Submit(t.Context(), e); scu.CodeOf(err) != c.code {
			t.Errorf("%s: a submission: %v", c.at, err)
		} else if err == nil {
			_, _, err := s.b.Cancel(t.Context(), e.Job.ID)
			must(t, err)
		}
		must(t, s.b.ForgetDeletion(t.Context(), f.ID)) // as the mark does that expires
		s.settle()
		if _, err := s.collector(48*time.Hour, "files=1d", nil).Collect(t.Context()); err != nil || s.there(f.ID) {
			t.Errorf("%s: collected again: %v; it is there: %v", c.at, err, s.there(f.ID))
		}
	}
}
