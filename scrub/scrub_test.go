package scrub_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/blobtest"
	"github.com/shannon-control/scu/blobs/folder"
	"github.com/shannon-control/scu/blobs/s3"
	"github.com/shannon-control/scu/blobs/s3/s3test"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/scrub"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
)

// service is the real parts: log, read model with its projector, and blobs in a folder or in NATS.
type service struct {
	*testing.T
	b     *broker.Broker
	store store.Store
	p     *store.Projector
	blobs *counting
}

// counting counts what is read.
type counting struct {
	scu.Blobs
	reads atomic.Int64
	stats atomic.Int64
	at    func(read int64)  // is called before each
	after func(scu.BlobKey) // and after it
}

func (c *counting) Get(ctx context.Context, key scu.BlobKey, from, length int64) (io.ReadCloser, scu.Blob, error) {
	if n := c.reads.Add(1); c.at != nil {
		c.at(n)
	}
	if c.after != nil {
		defer c.after(key)
	}
	return c.Blobs.Get(ctx, key, from, length)
}

func (c *counting) Stat(ctx context.Context, key scu.BlobKey) (scu.Blob, error) {
	c.stats.Add(1)
	return c.Blobs.Stat(ctx, key)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var silent = slog.New(slog.DiscardHandler)

// Where blobs are kept.
const (
	inFolder = "folder"
	inNATS   = "NATS"
	inS3     = "S3"
)

func start(t *testing.T, where string) *service {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Rights: broker.Rights, Dir: t.TempDir(), Log: silent})
	must(t, err)
	t.Cleanup(server.Close)
	s := &service{T: t, blobs: &counting{}}
	o := broker.Options{Server: server, Log: silent}
	switch where {
	case inFolder:
		s.blobs.Blobs, err = folder.Open(t.TempDir())
		o.Blobs = s.blobs
	case inS3:
		g := s3test.Start(t)
		s.blobs.Blobs, err = s3.Open(t.Context(), s3.Options{Endpoint: "http://" + g.Addr, Region: s3test.Region, Bucket: s3test.Bucket, Prefix: "p/", AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey, Dir: t.TempDir()})
		o.Blobs = s.blobs
	}
	must(t, err)
	s.b, err = broker.Connect(t.Context(), o)
	must(t, err)
	t.Cleanup(s.b.Close)
	must(t, s.b.Setup(t.Context()))
	if where == inNATS {
		s.blobs.Blobs = s.b.Objects()
	}
	s.store, err = sqlite.Open(t.Context(), t.TempDir()+"/scu.db")
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	s.p = store.NewProjector(s.store, s.b, store.ProjectorOptions{Log: silent})
	go func() { done <- s.p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; s.store.Close() })
	return s
}

// scrubber is one whose clock is ahead by a while.
func (s *service) scrubber(ahead time.Duration) *scrub.Scrubber {
	all := map[scu.BlobKind]scu.Blobs{}
	for _, k := range scu.BlobKinds {
		all[k] = s.blobs
	}
	return scrub.New(scrub.Scrubber{Reports: s.b, Store: s.store, Blobs: all, Every: 24 * time.Hour, Rate: 1 << 40, Log: silent,
		Now: func() time.Time { return time.Now().Add(ahead) }})
}

func (s *service) put(kind scu.BlobKind, name string, data []byte) scu.BlobKey {
	s.Helper()
	key := scu.BlobKey{Kind: kind, Name: name}
	_, err := s.blobs.Put(s.Context(), key, bytes.NewReader(data), scu.PutOptions{})
	must(s.T, err)
	return key
}

// job submits one on a file; with an adapter it is completed and has that, and a checkpoint
// of step 7.
func (s *service) job(file, adapter, checkpoint []byte) scu.Job {
	s.Helper()
	e := scu.Submission(scu.Job{BaseModel: scu.BuiltInModel, Config: scu.DefaultConfig(), TrainData: scu.File{ID: blobtest.Sum(file), Name: "train.txt"}, Class: "cpu"}, time.Now())
	_, err := s.b.Submit(s.Context(), e)
	must(s.T, err)
	if adapter == nil {
		return e.Job
	}
	key := scu.AdapterKey{Job: e.Job.ID, Attempt: 1}
	s.put(scu.AdapterBlob, key.Blob().Name, adapter)
	key.Step = 7
	s.put(scu.AdapterBlob, key.Blob().Name, checkpoint)
	var j scu.Job
	for _, f := range []func(scu.Job) (scu.Event, error){
		func(j scu.Job) (scu.Event, error) { return j.Start("t1", time.Now()) },
		func(j scu.Job) (scu.Event, error) { return j.Enter(1, scu.Training, 10, nil, time.Now()) },
		func(j scu.Job) (scu.Event, error) {
			return j.Store(1, scu.Checkpoint{Step: 7, Attempt: 1, Size: int64(len(checkpoint)), SHA256: blobtest.Sum(checkpoint)}, 3, time.Now())
		},
		func(j scu.Job) (scu.Event, error) {
			return j.Complete(1, scu.Adapter{JobID: j.ID, Name: "x.zip", Size: int64(len(adapter)), SHA256: blobtest.Sum(adapter)}, time.Now())
		},
	} {
		j, _, err = s.b.Append(s.Context(), e.Job.ID, "t1", f)
		must(s.T, err)
	}
	return j
}

// settle waits until the read model has what the log has.
func (s *service) settle() {
	s.Helper()
	end, err := s.b.End(s.Context())
	must(s.T, err)
	must(s.T, s.p.WaitFor(s.Context(), scu.Position{State: end.State}))
}

// replace puts other bytes in the place of a blob: what a job has is not what is there.
func (s *service) replace(key scu.BlobKey) { s.put(key.Kind, key.Name, []byte("others")) }

// reports are the names of what is damaged, and why.
func (s *service) reports() map[string]scu.Damage {
	s.Helper()
	all, err := s.b.Damaged(s.Context())
	must(s.T, err)
	out := map[string]scu.Damage{}
	for _, d := range all {
		out[d.Key().String()] = d
	}
	return out
}

func (s *service) verify(ahead time.Duration, asked bool) scu.Verification {
	s.Helper()
	must(s.T, s.scrubber(ahead).Verify(s.Context(), asked))
	v, _, err := s.b.Verification(s.Context())
	must(s.T, err)
	return v
}

// Damage is found by reading, told with what the bytes should be, and told no more once the
// same bytes are there again or nobody has the blob any more.
func TestDamageIsFoundAndMended(t *testing.T) {
	for _, where := range []string{inFolder, inNATS, inS3} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			s := start(t, where)
			data, adapter, checkpoint := blobtest.Bytes(300_000), blobtest.Bytes(1<<20), blobtest.Bytes(70_000)
			file := s.put(scu.FileBlob, blobtest.Sum(data), data)
			s.put(scu.CheckpointBlob, "0123456789abcdef.run.1", checkpoint)
			whole, broken, gone := s.job(data, adapter, checkpoint), s.job(data, adapter, checkpoint), s.job(data, adapter, checkpoint)
			waiting := s.job([]byte("lost"), nil, nil)
			s.settle()
			if v := s.verify(0, true); v.EndedAt == nil || v.Blobs != 8 || v.Damaged != 1 || v.Unread != 0 || v.Bytes != int64(3*(1<<20+70_000)+300_000+70_000) {
				t.Errorf("of whole blobs: %+v", v)
			}
			lost := scu.BlobKey{Kind: scu.FileBlob, Name: blobtest.Sum([]byte("lost"))}
			if all := s.reports(); len(all) != 1 || all[lost.String()].Job != waiting.ID {
				t.Errorf("the file that a waiting job reads: %+v", all)
			}

			key := scu.AdapterKey{Job: broken.ID, Attempt: 1}
			at7 := key
			at7.Step = 7
			s.replace(key.Blob())
			must(t, s.blobs.Delete(t.Context(), at7.Blob()))
			s.replace(file)
			s.replace((scu.AdapterKey{Job: gone.ID, Attempt: 1}).Blob())
			before := s.blobs.reads.Load()
			if v := s.verify(time.Hour, false); v.Damaged != 1 || s.blobs.reads.Load() != before {
				t.Errorf("it isn't due: %+v", v)
			}
			if v := s.verify(25*time.Hour, false); v.EndedAt == nil || v.Damaged != 5 {
				t.Errorf("%+v", v)
			}
			all := s.reports()
			if d := all[key.Blob().String()]; d.SHA256 != blobtest.Sum(adapter) || d.Size != 1<<20 || d.Job != broken.ID || d.Why == "" {
				t.Errorf("the adapter: %+v", d)
			}
			if d := all[at7.Blob().String()]; !strings.Contains(d.Why, "lost") || d.SHA256 != blobtest.Sum(checkpoint) {
				t.Errorf("the checkpoint: %+v", d)
			}
			if d := all[file.String()]; d.SHA256 != file.Name || len(all) != 5 {
				t.Errorf("the file: %+v of %d", d, len(all))
			}

			s.put(key.Blob().Kind, key.Blob().Name, adapter)
			s.put(at7.Blob().Kind, at7.Blob().Name, checkpoint)
			s.put(file.Kind, file.Name, data)
			must(t, s.b.Delete(t.Context(), gone.ID))
			_, _, err := s.b.Cancel(t.Context(), waiting.ID)
			must(t, err)
			s.settle()
			if v := s.verify(51*time.Hour, false); v.EndedAt == nil || v.Damaged != 0 || v.Unread != 0 {
				t.Errorf("mended: %+v", v)
			}
			if all := s.reports(); len(all) != 0 {
				t.Errorf("still reported: %+v", all)
			}
			if _, err := scu.VerifyBlob(t.Context(), s.blobs, (scu.AdapterKey{Job: whole.ID, Attempt: 1}).Blob()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A process that dies in the middle is followed by another, which goes on where it was; while
// it lives, nobody else reads, and when all had been read last is known.
func TestAnotherGoesOn(t *testing.T) {
	t.Parallel()
	s := start(t, inFolder)
	for i := range 4 {
		data := blobtest.Bytes(1000 + i)
		s.put(scu.FileBlob, blobtest.Sum(data), data)
	}
	first := s.verify(-48*time.Hour, true)
	s.blobs.reads.Store(0)
	ctx, die := context.WithCancel(t.Context())
	clock := time.Now()
	mortal := s.scrubber(0)
	mortal.Now = func() time.Time { clock = clock.Add(10 * time.Second); return clock } // it says each time how far it is
	s.blobs.at = func(read int64) {
		if read == 3 {
			other := s.scrubber(time.Until(clock))
			must(t, other.Verify(t.Context(), true))
			die()
		}
	}
	if err := mortal.Verify(ctx, true); err == nil {
		t.Error("it lived on")
	}
	if v, _, err := s.b.Verification(t.Context()); err != nil || !v.Running() || v.Blobs != 2 || v.Kind != scu.FileBlob || !v.LastEnd().Equal(*first.EndedAt) {
		t.Errorf("it left %+v, %v", v, err)
	}
	heir, passed := s.scrubber(0), time.Duration(0)
	heir.Elapsed = func() time.Duration { return passed }
	for _, c := range []struct {
		passed time.Duration
		reads  int64
	}{{0, 3}, {59 * time.Second, 3}, {time.Minute, 3 + 2}} {
		passed = c.passed
		must(t, heir.Verify(t.Context(), false))
		if n := s.blobs.reads.Load(); n != c.reads {
			t.Errorf("%d reads when nothing was heard for %s", n, c.passed)
		}
	}
	if v, _, err := s.b.Verification(t.Context()); err != nil || v.EndedAt == nil || v.Blobs != 4 {
		t.Errorf("%+v, %v", v, err)
	}
}

// A clock that is set in the middle, and another process's that is wrong, have nobody take over
// what is being read, and put the next verification off by no more than an hour.
func TestClockIsSetInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before, after time.Duration // of who reads, by how much it is ahead
		soon          bool          // the next is due at once, since this one was dated by a clock that was wrong
	}{
		{0, 25 * time.Hour, false},
		{0, -25 * time.Hour, false},
		{25 * time.Hour, 0, true},
		{15 * time.Minute, 15 * time.Minute, false},
		{-15 * time.Minute, -15 * time.Minute, false},
	} {
		s := start(t, inFolder)
		for i := range 4 {
			data := blobtest.Bytes(1000 + i)
			s.put(scu.FileBlob, blobtest.Sum(data), data)
		}
		ahead, right := c.before, s.scrubber(0)
		reader := s.scrubber(0)
		reader.Now = func() time.Time { return time.Now().Add(ahead) }
		s.blobs.at = func(read int64) {
			if read > 1 {
				ahead = c.after
			}
			must(t, right.Verify(t.Context(), true))
		}
		must(t, reader.Verify(t.Context(), true))
		if v, _, err := s.b.Verification(t.Context()); err != nil || v.EndedAt == nil || v.Blobs != 4 || s.blobs.reads.Load() != 4 {
			t.Errorf("%+v: %+v after %d reads, %v", c, v, s.blobs.reads.Load(), err)
		}
		s.blobs.at = nil
		if s.verify(0, false); (s.blobs.reads.Load() > 4) != c.soon {
			t.Errorf("%+v: %d reads when the next may be due", c, s.blobs.reads.Load())
		}
		before := s.blobs.reads.Load()
		if s.verify(25*time.Hour, false); s.blobs.reads.Load() == before {
			t.Errorf("%+v: none is due after its period", c)
		}
	}
}

// A file that many jobs wait for is looked for once.
func TestFileOfManyJobs(t *testing.T) {
	t.Parallel()
	s := start(t, inFolder)
	data := blobtest.Bytes(1000)
	s.put(scu.FileBlob, blobtest.Sum(data), data)
	for range 3 {
		s.job(data, nil, nil)
	}
	s.settle()
	s.blobs.stats.Store(0)
	if v := s.verify(0, true); v.Blobs != 1 || v.Damaged != 0 || s.blobs.stats.Load() != 1 {
		t.Errorf("%+v, looked for %d times", v, s.blobs.stats.Load())
	}
}

// What can't be read is neither damaged nor whole, and no report is forgotten for it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	s := start(t, inFolder)
	data := blobtest.Bytes(1000)
	key := s.put(scu.FileBlob, blobtest.Sum(data), data)
	must(t, s.b.ReportDamage(t.Context(), scu.Damage{Kind: key.Kind, Name: key.Name, SHA256: key.Name, FoundAt: time.Now().Add(-time.Hour)}))
	s.blobs.Blobs = unavailable{s.blobs.Blobs}
	if v := s.verify(0, true); v.EndedAt == nil || v.Unread != 1 || v.Damaged != 0 || v.Blobs != 0 {
		t.Errorf("%+v", v)
	}
	if all := s.reports(); len(all) != 1 {
		t.Errorf("reported: %+v", all)
	}
}

// unavailable blobs can be listed and not read.
type unavailable struct{ scu.Blobs }

func (unavailable) Get(context.Context, scu.BlobKey, int64, int64) (io.ReadCloser, scu.Blob, error) {
	return nil, scu.Blob{}, scu.Errorf(scu.CodeUnavailable, "away")
}

// It reads no faster than it may.
func TestRate(t *testing.T) {
	t.Parallel()
	s := start(t, inNATS)
	data := blobtest.Bytes(1 << 20)
	s.put(scu.FileBlob, blobtest.Sum(data), data)
	slow := s.scrubber(0)
	slow.Rate = 1 << 20
	begun := time.Now()
	must(t, slow.Verify(t.Context(), true))
	if took := time.Since(begun); took < 700*time.Millisecond { // a quarter comes at once
		t.Errorf("a MiB at a MiB a second took %v", took)
	}
	if all := s.reports(); len(all) != 0 {
		t.Errorf("reported: %+v", all)
	}
}

// Run verifies when it is asked.
func TestRun(t *testing.T) {
	t.Parallel()
	s := start(t, inFolder)
	data := blobtest.Bytes(1000)
	s.put(scu.FileBlob, blobtest.Sum(data), data)
	ctx, stop := context.WithCancel(t.Context())
	read, done := make(chan struct{}), make(chan struct{})
	s.blobs.at = func(int64) { close(read) }
	r := s.scrubber(0)
	go func() { defer close(done); r.Run(ctx) }()
	r.Ask()
	<-read
	stop()
	<-done
}

// What could not be read is read again after an hour, and nothing else is; until it was, not all
// has been read.
func TestUnreadIsReadAgain(t *testing.T) {
	t.Parallel()
	s := start(t, inFolder)
	data, adapter, checkpoint := blobtest.Bytes(1000), blobtest.Bytes(2000), blobtest.Bytes(3000)
	s.put(scu.FileBlob, blobtest.Sum(data), data)
	s.put(scu.CheckpointBlob, "0123456789abcdef.run.1", checkpoint)
	j := s.job(data, adapter, checkpoint)
	s.settle()
	first := s.verify(-8*24*time.Hour, true)
	away := &some{Blobs: s.blobs.Blobs, away: map[scu.BlobKey]bool{
		{Kind: scu.FileBlob, Name: blobtest.Sum(data)}: true, {Kind: scu.CheckpointBlob, Name: "0123456789abcdef.run.1"}: true,
		(scu.AdapterKey{Job: j.ID, Attempt: 1}).Blob(): true}}
	s.blobs.Blobs = away
	if v := s.verify(0, false); v.EndedAt == nil || v.Unread != 3 || v.Blobs != 1 || !v.LastEnd().Equal(*first.EndedAt) {
		t.Errorf("while three are away: %+v", v)
	}
	s.blobs.reads.Store(0)
	if s.verify(59*time.Minute, false); s.blobs.reads.Load() != 0 {
		t.Error("they are read again before an hour is over")
	}
	delete(away.away, scu.BlobKey{Kind: scu.FileBlob, Name: blobtest.Sum(data)})
	if v := s.verify(61*time.Minute, false); v.Unread != 2 || v.Blobs != 2 || len(v.Left) != 2 || s.blobs.reads.Load() != 3 {
		t.Errorf("while two are: %+v after %d reads", v, s.blobs.reads.Load())
	}
	clear(away.away)
	s.replace((scu.AdapterKey{Job: j.ID, Attempt: 1}).Blob())
	if v := s.verify(122*time.Minute, false); v.Unread != 0 || v.Blobs != 4 || v.Damaged != 1 || !v.LastEnd().Equal(*v.EndedAt) || len(v.Left) > 0 {
		t.Errorf("once none is: %+v", v)
	}
	if all := s.reports(); len(all) != 1 {
		t.Errorf("reported: %+v", all)
	}
	before := s.blobs.reads.Load()
	if s.verify(5*time.Hour, false); s.blobs.reads.Load() != before {
		t.Error("all are read, and read again")
	}
}

// some blobs are away.
type some struct {
	scu.Blobs
	away map[scu.BlobKey]bool
}

func (s *some) Get(ctx context.Context, key scu.BlobKey, from, length int64) (io.ReadCloser, scu.Blob, error) {
	if s.away[key] {
		return nil, scu.Blob{}, scu.Errorf(scu.CodeUnavailable, "away")
	}
	return s.Blobs.Get(ctx, key, from, length)
}

// What is known of a blob's damage goes with the job that is deleted, and nothing is reported of
// what is deleted while it is read.
func TestDeletedIsNotDamaged(t *testing.T) {
	t.Parallel()
	s := start(t, inFolder)
	data, adapter, checkpoint := blobtest.Bytes(1000), blobtest.Bytes(2000), blobtest.Bytes(3000)
	file := s.put(scu.FileBlob, blobtest.Sum(data), data)
	j, other := s.job(data, adapter, checkpoint), s.job(data, adapter, checkpoint)
	s.settle()
	s.replace(file)
	for _, x := range []scu.Job{j, other} {
		s.replace((scu.AdapterKey{Job: x.ID, Attempt: 1}).Blob())
	}
	if v := s.verify(0, true); v.Damaged != 3 {
		t.Errorf("%+v", v)
	}
	must(t, s.b.Delete(t.Context(), j.ID))
	if all := s.reports(); len(all) != 2 || all[(scu.AdapterKey{Job: other.ID, Attempt: 1}).Blob().String()].Job != other.ID {
		t.Errorf("after its deletion: %+v", all)
	}
	s.settle()
	must(t, s.b.ClearDamage(t.Context(), file))
	s.blobs.after = func(key scu.BlobKey) {
		if key == file {
			must(t, s.blobs.Delete(t.Context(), key))
		}
	}
	if v := s.verify(time.Minute, true); v.Damaged != 1 {
		t.Errorf("%+v", v)
	}
	if all := s.reports(); len(all) != 1 {
		t.Errorf("a file that was deleted while it was read: %+v", all)
	}
}
