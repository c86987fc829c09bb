package retention_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/retention"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
)

// service is the real parts: log, read model, files, and a projector.
type service struct {
	*testing.T
	b     *broker.Broker
	store store.Store
	p     *store.Projector
	files *files.Store
	now   time.Time
}

func start(t *testing.T) *service {
	t.Helper()
	s, _ := startIn(t, "", t.TempDir()+"/scu.db", t.TempDir())
	return s
}

// startIn is start with a NATS server that listens, a database and a folder that another process
// may have too.
func startIn(t *testing.T, listen, database, folder string) (*service, *embedded.Server) {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{Rights: broker.Rights, Dir: t.TempDir(), Listen: listen, Log: silent})
	must(t, err)
	t.Cleanup(server.Close)
	b, err := broker.Connect(t.Context(), broker.Options{Server: server, Log: silent})
	must(t, err)
	t.Cleanup(b.Close)
	must(t, b.Setup(t.Context()))
	s, err := sqlite.Open(t.Context(), database)
	must(t, err)
	f, err := files.Open(folder)
	must(t, err)
	p := store.NewProjector(s, b, store.ProjectorOptions{Log: silent})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; s.Close() })
	return &service{t, b, s, p, f, time.Now()}, server
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// collector is one whose clock stands a while after now; before is called in its pause.
func (s *service) collector(after time.Duration, policy string, before func()) *retention.Collector {
	s.Helper()
	r, err := scu.ParseRetention(strings.Split(policy, ","))
	must(s.T, err)
	now := func() time.Time { return time.Now().Add(after) }
	return &retention.Collector{Policy: r, Log: timed{s.b, now}, Store: s.store, Files: s.files, Blobs: s.b.Blobs(), Shared: s.b.Objects(),
		Now: now,
		Wait: func(ctx context.Context, d time.Duration) error {
			if before != nil {
				before()
			}
			s.settle()
			return ctx.Err()
		}}
}

// timed is a log whose keeper has a clock of the test's.
type timed struct {
	retention.Log
	now func() time.Time
}

func (l timed) Time(context.Context) (time.Time, error) { return l.now(), nil }

// settle waits until the read model has what the log has.
func (s *service) settle() {
	s.Helper()
	end, err := s.b.End(s.Context())
	must(s.T, err)
	must(s.T, s.p.WaitFor(s.Context(), scu.Position{State: end.State}))
}

func (s *service) file(text string) scu.File {
	s.Helper()
	f, err := s.files.Put(s.Context(), "x.txt", strings.NewReader(text), 100)
	must(s.T, err)
	return f
}

func (s *service) submission(f scu.File) scu.Event {
	return scu.Submission(scu.Job{BaseModel: scu.BuiltInModel, Config: scu.DefaultConfig(), TrainData: f, Class: "cpu"}, time.Now())
}

func (s *service) submit(f scu.File) string {
	s.Helper()
	e := s.submission(f)
	_, err := s.b.Submit(s.Context(), e)
	must(s.T, err)
	return e.Job.ID
}

// end cancels a job that has stored an adapter of so many bytes.
func (s *service) end(id string, bytes int) {
	s.Helper()
	_, _, err := s.b.PutAdapter(s.Context(), scu.AdapterKey{Job: id, Attempt: 1}, strings.NewReader(strings.Repeat("x", bytes)))
	must(s.T, err)
	_, _, err = s.b.Cancel(s.Context(), id)
	must(s.T, err)
}

func ids(all []scu.Collected) (out []string) {
	for _, x := range all {
		if x.Error == "" {
			out = append(out, x.ID)
		}
	}
	return out
}

func (s *service) there(id string) bool {
	s.Helper()
	_, err := s.files.Stat(s.Context(), id)
	return err == nil
}

const day = 24 * time.Hour

func TestWhatGoesAndWhatStays(t *testing.T) {
	s := start(t)
	used, alone, again := s.file("used"), s.file("alone"), s.file("again")
	open, old, newer := s.submit(used), s.submit(alone), s.submit(again)
	s.end(old, 1000)
	s.end(newer, 1000)
	key := func(id string) scu.BlobKey { return scu.BlobKey{Kind: scu.CheckpointBlob, Name: id + ".run.1"} }
	for _, id := range []string{open, old} {
		_, err := s.b.Objects().Put(t.Context(), key(id), strings.NewReader("weights"), scu.PutOptions{})
		must(t, err)
	}
	s.settle()
	for policy, want := range map[string][]string{
		"jobs=1d":             {old, newer},
		"jobs=3d":             nil,
		"jobs=0.0015MB":       {old},
		"jobs=1MB":            nil,
		"checkpoints=1d":      {key(old).Name},
		"files=1d":            {alone.ID, again.ID},
		"files=0.000001MB":    {alone.ID, again.ID},
		"files=3d,files=1GB":  nil,
		"jobs=3d,files=100MB": nil,
	} {
		got, err := s.collector(2*day, policy, nil).Plan(t.Context())
		must(t, err)
		if !slices.Equal(ids(got), want) {
			t.Errorf("%s: %+v, want %v", policy, got, want)
		}
	}
	done, err := s.collector(2*day, "jobs=1d,checkpoints=1d,files=1d", nil).Collect(t.Context())
	must(t, err)
	if len(ids(done)) != 5 {
		t.Errorf("collected %+v", done)
	}
	for _, id := range []string{old, newer} {
		if _, _, err := s.b.Job(t.Context(), id); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("job %s: %v", id, err)
		}
	}
	if !s.there(used.ID) || s.there(alone.ID) || s.there(again.ID) {
		t.Error("a file that is used went, or one that isn't stayed")
	}
	if _, err := s.b.Objects().Stat(t.Context(), key(open)); err != nil {
		t.Errorf("the checkpoint of an open job: %v", err)
	}
	if left, err := s.collector(2*day, "jobs=1d,checkpoints=1d,files=1d", nil).Collect(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("a second time: %+v, %v", left, err)
	}
}

// planned are blobs that something happens to once they were listed.
type planned struct {
	scu.Blobs
	then func()
}

func (p planned) List(ctx context.Context, kind scu.BlobKind, prefix, after string, limit int) ([]scu.Blob, bool, error) {
	page, more, err := p.Blobs.List(ctx, kind, prefix, after, limit)
	p.then()
	return page, more, err
}

// A job that is retried while checkpoints are collected goes on from its own.
func TestARetryBesideACollector(t *testing.T) {
	s := start(t)
	id := s.submit(s.file("x"))
	_, _, err := s.b.Append(t.Context(), id, "a", func(j scu.Job) (scu.Event, error) { return j.Fail(0, scu.Errorf(scu.CodeInvalid, "no"), time.Now()) })
	must(t, err)
	key := scu.BlobKey{Kind: scu.CheckpointBlob, Name: id + ".run.1"}
	_, err = s.b.Objects().Put(t.Context(), key, strings.NewReader("weights"), scu.PutOptions{})
	must(t, err)
	s.settle()
	c := s.collector(2*day, "checkpoints=1d", nil)
	c.Shared = planned{c.Shared, func() {
		_, _, err := s.b.Append(t.Context(), id, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Retry(false, time.Now()) })
		must(t, err)
		s.settle()
	}}
	all, err := c.Collect(t.Context())
	must(t, err)
	if len(all) != 1 || all[0].Error == "" {
		t.Errorf("collected %+v", all)
	}
	if _, err := s.b.Objects().Stat(t.Context(), key); err != nil {
		t.Errorf("the checkpoint of a job that goes on: %v", err)
	}
}

// Of a submission that comes while a file is collected either the job has its file, or it is
// refused.
func TestSubmissionsBesideACollector(t *testing.T) {
	s := start(t)
	f := s.file("wanted")
	s.settle()
	var id string
	done, err := s.collector(2*day, "files=1d", func() { id = s.submit(f) }).Collect(t.Context())
	must(t, err)
	if len(ids(done)) != 0 || !s.there(f.ID) {
		t.Errorf("collected %+v, though job %s reads it", done, id)
	}
	_, _, err = s.b.Cancel(t.Context(), id)
	must(t, err)
	s.settle()

	// Uploaded again in the pause, it is new.
	done, err = s.collector(2*day, "files=1d", func() { s.file("wanted") }).Collect(t.Context())
	must(t, err)
	if len(ids(done)) != 0 || !s.there(f.ID) {
		t.Errorf("collected %+v, though it was uploaded again", done)
	}

	// Once its deletion has begun it can't be had, by whoever found it before.
	done, err = s.collector(2*day, "files=1d", nil).Collect(t.Context())
	must(t, err)
	if !slices.Equal(ids(done), []string{f.ID}) {
		t.Fatalf("collected %+v", done)
	}
	if _, err := s.b.Submit(t.Context(), s.submission(f)); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("a job without its file: %v", err)
	}
	s.file("wanted")
	must(t, s.b.ForgetDeletion(t.Context(), f.ID))
	s.submit(f)
}

// Several collect at once, beside submissions: no job that was accepted lacks its file.
func TestRivals(t *testing.T) {
	s := start(t)
	var all []scu.File
	for i := range 20 {
		all = append(all, s.file(strings.Repeat("x", i+1)))
	}
	s.settle()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var under sync.RWMutex // submissions; the pause of a collector is longer than any
	accepted := map[string]bool{}
	for range 3 {
		wg.Go(func() {
			if _, err := s.collector(2*day, "files=1d", func() { under.Lock(); defer under.Unlock() }).Collect(t.Context()); err != nil && scu.CodeOf(err) != scu.CodeUnavailable {
				t.Error(err)
			}
		})
	}
	for i, f := range all {
		if i%2 == 0 {
			wg.Go(func() {
				under.RLock()
				defer under.RUnlock()
				if _, err := s.b.Submit(t.Context(), s.submission(f)); err == nil {
					mu.Lock()
					accepted[f.ID] = true
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	for id := range accepted {
		if !s.there(id) {
			t.Errorf("an accepted job lacks its file %s", id)
		}
	}
}

// A collector that dies after it began a deletion leaves the file to the next.
func TestACollectorThatDied(t *testing.T) {
	s := start(t)
	f := s.file("left")
	s.settle()
	_, err := s.b.MarkForDeletion(t.Context(), f.ID) // and no more
	must(t, err)
	done, err := s.collector(2*day, "files=1d", nil).Collect(t.Context())
	must(t, err)
	if !slices.Equal(ids(done), []string{f.ID}) || s.there(f.ID) {
		t.Errorf("collected %+v", done)
	}
	g := s.file("right")
	mark, err := s.b.MarkForDeletion(t.Context(), g.ID)
	must(t, err)
	must(t, s.b.BeginDeletion(t.Context(), g.ID, mark)) // and died: till the mark expires nobody touches it
	done, err = s.collector(2*day, "files=1d", nil).Collect(t.Context())
	must(t, err)
	if len(ids(done)) != 0 || !s.there(g.ID) {
		t.Errorf("collected %+v", done)
	}
	if _, err := s.b.Submit(t.Context(), s.submission(g)); scu.CodeOf(err) != scu.CodeUnavailable {
		t.Errorf("it may be going: %v", err)
	}
}
