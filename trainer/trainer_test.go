package trainer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/hub"
)

// service is a broker, storage and what a trainer needs, for real.
type service struct {
	t      testing.TB
	broker *broker.Broker
	files  *files.Store
	bases  *base.Finder
	dir    string
}

func newService(t testing.TB, change ...func(*broker.Options)) *service {
	t.Helper()
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{Rights: broker.Rights, Dir: dir + "/nats", Log: quiet})
	must(t, err)
	t.Cleanup(server.Close)
	opts := broker.Options{Server: server, AckWait: 10 * time.Second, Rescan: 500 * time.Millisecond, Log: quiet}
	for _, c := range change {
		c(&opts)
	}
	b, err := broker.Connect(t.Context(), opts)
	must(t, err)
	t.Cleanup(b.Close)
	must(t, b.Setup(t.Context()))
	f, err := files.Open(dir + "/files")
	must(t, err)
	return &service{t: t, broker: b, files: f, bases: &base.Finder{Dir: dir + "/models"}, dir: dir}
}

// trainer makes a trainer that shares checkpoints with the others.
func (s *service) trainer(name string, device func() (kernels.Device, error)) *Trainer {
	s.t.Helper()
	kind := devices.CPU(2)
	if device != nil {
		kind.New = func(kernels.Options) (kernels.Device, error) { return device() }
	}
	tr, err := New(Config{Name: name, Broker: s.broker, Files: s.files, Bases: s.bases, Device: kind,
		CacheDir: s.dir + "/cache", CheckpointDir: s.dir + "/checkpoints", Log: slog.New(slog.DiscardHandler)})
	must(s.t, err)
	return tr
}

// submit stores text and submits a job on the built-in model.
func (s *service) submit(text string, change func(*scu.Job)) scu.Job {
	s.t.Helper()
	f, err := s.files.Put(s.t.Context(), "story.txt", strings.NewReader(text), 1<<30)
	must(s.t, err)
	cfg := scu.DefaultConfig()
	cfg.BaseModel, cfg.LoRA.R, cfg.LoRA.Alpha, cfg.BlockSize, cfg.BatchSize, cfg.LearningRate, cfg.ValFraction = "bookworm-2m", 4, 8, 128, 2, 1e-3, 0.1
	j := scu.Job{BaseModel: cfg.BaseModel, Config: cfg, TrainData: f, Class: "cpu"}
	if change != nil {
		change(&j)
	}
	e := scu.Submission(j, time.Now())
	_, err = s.broker.Submit(s.t.Context(), e)
	must(s.t, err)
	return e.Job
}

// wait follows a job's metrics until it has ended; each calls back.
func (s *service) wait(id string, each func(scu.Metrics)) scu.Job {
	s.t.Helper()
	return s.until(id, each, func(j scu.Job) bool { return j.Status.Ended() })
}

// until follows a job's metrics until it is as is wanted.
func (s *service) until(id string, each func(scu.Metrics), is func(scu.Job) bool) scu.Job {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	found := make(chan scu.Job, 1)
	go s.broker.Follow(ctx, scu.Position{}, func(b scu.Batch) error {
		for _, m := range b.Metrics {
			if m.Metrics.JobID == id && each != nil {
				each(m.Metrics)
			}
		}
		for _, e := range b.State {
			if e.Event.Job.ID == id && is(e.Event.Job) {
				found <- e.Event.Job
				return io.EOF
			}
		}
		return nil
	})
	select {
	case j := <-found:
		return j
	case <-time.After(5 * time.Minute):
		s.t.Fatalf("job %s didn't end", id)
		panic("unreachable")
	}
}

func (s *service) adapter(j scu.Job) []byte {
	s.t.Helper()
	if j.Status != scu.Completed {
		s.t.Fatalf("job %s is %s: %v", j.ID, j.Status, j.Error)
	}
	r, _, err := s.broker.GetAdapter(s.t.Context(), scu.AdapterKey{Job: j.ID, Attempt: j.Attempt})
	must(s.t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	must(s.t, err)
	return b
}

// story is text of the given size that isn't all the same.
func story(bytes int) string {
	var b strings.Builder
	for i := 0; b.Len() < bytes; i++ {
		fmt.Fprintf(&b, "On day %d the keeper of the lighthouse wrote %d words about the weather, and none about the %dth ship.\n\n", i, i*i%97, i%13)
	}
	return b.String()
}

func TestSameJobSameBytes(t *testing.T) {
	t.Parallel()
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	first := s.submit(story(20_000), nil)
	second := s.submit(story(20_000), nil)
	one, two := s.wait(first.ID, nil), s.wait(second.ID, nil)
	if !bytes.Equal(s.adapter(one), s.adapter(two)) {
		t.Fatal("the same job gave other bytes the second time")
	}
	sum := one.Adapter.Metrics
	if sum.ValLossBefore == nil || sum.ValLossAfter == nil || !(*sum.ValLossAfter < *sum.ValLossBefore) {
		t.Errorf("validation loss from %v to %v: nothing was learned", sum.ValLossBefore, sum.ValLossAfter)
	}
}

// A trainer stopped in the middle hands its job back with a checkpoint; another
// finishes it, and the bytes are those of a run that was never interrupted.
func TestStoppedAndResumedSameBytes(t *testing.T) {
	t.Parallel()
	s := newService(t)
	apart := func(j *scu.Job) { j.Config.EvalEvery = 1000 } // amid a validation no checkpoint is made
	whole := s.submit(story(40_000), apart)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.trainer("a", nil).Run(ctx); close(done) }()
	want := s.adapter(s.wait(whole.ID, nil))

	broken := s.submit(story(40_000), apart)
	attempts := map[int]int{}
	second, stopSecond := context.WithCancel(t.Context())
	doneSecond := make(chan struct{})
	go func() { <-done; s.trainer("b", nil).Run(second); close(doneSecond) }()
	end := s.wait(broken.ID, func(m scu.Metrics) {
		if m.Attempt == 1 && m.Step == 5 {
			stop()
		}
		if _, ok := attempts[m.Attempt]; !ok {
			attempts[m.Attempt] = m.Step
		}
	})
	if end.Attempt != 2 {
		t.Fatalf("the job took %d attempts; it was stopped once", end.Attempt)
	}
	if attempts[2] < 6 {
		t.Errorf("the second attempt began at step %d: the checkpoint was not taken", attempts[2])
	}
	if got := s.adapter(end); !bytes.Equal(got, want) {
		t.Fatal("the resumed run gave other bytes")
	}
	stopSecond()
	<-doneSecond
	if _, err := os.Stat(s.dir + "/checkpoints/" + broken.ID); !os.IsNotExist(err) {
		t.Errorf("checkpoints of an ended job stay: %v", err)
	}
}

// faulty is a device with a bug.
type faulty struct{ kernels.Device }

func (faulty) AdamW(kernels.AdamW) { panic("a wrong shape") }

// A panic fails its job; the trainer goes on with the next.
func TestPanicFailsTheJob(t *testing.T) {
	s := newService(t)
	opened := 0
	go s.trainer("a", func() (kernels.Device, error) {
		dev, err := cpu.New(1)
		if opened++; opened == 1 {
			dev = faulty{dev}
		}
		return dev, err
	}).Run(t.Context())
	one := 1
	short := func(j *scu.Job) { j.Config.Steps = &one }
	end := s.wait(s.submit(story(3000), short).ID, nil)
	if end.Status != scu.Failed || end.Error == nil || end.Error.Code != scu.CodeInternal || !strings.Contains(end.Error.Message, "a wrong shape") {
		t.Fatalf("%s: %+v", end.Status, end.Error)
	}
	if next := s.wait(s.submit(story(3000), short).ID, nil); next.Status != scu.Completed {
		t.Fatalf("the next job is %s: %v", next.Status, next.Error)
	}
}

// away is a store that fails so many times.
type away struct {
	scu.FileStore
	code  scu.Code
	times int
}

func (a *away) Local(ctx context.Context, id string) (string, error) {
	if a.times--; a.times >= 0 {
		return "", scu.Errorf(a.code, "the store is away")
	}
	return a.FileStore.Local(ctx, id)
}

// A job that lacks something for a while, be it room on the disk, is handed back, says so, and ends.
func TestUnavailableIsTriedAgain(t *testing.T) {
	for _, code := range []scu.Code{scu.CodeUnavailable, scu.CodeStorage} {
		s := newService(t)
		tr := s.trainer("a", nil)
		tr.Files, tr.retryWait = &away{s.files, code, 2}, time.Millisecond
		go tr.Run(t.Context())
		one := 1
		end := s.wait(s.submit(story(3000), func(j *scu.Job) { j.Config.Steps = &one }).ID, nil)
		if end.Status != scu.Completed || end.Attempt != 3 {
			t.Fatalf("%s: %s in attempt %d: %v", code, end.Status, end.Attempt, end.Error)
		}
		earlier := end.Warnings[len(end.Adapter.Metrics.Warnings):] // those of how it ended come first
		if want := []string{"handed back and will be retried: train_data_path: the store is away"}; !slices.Equal(earlier, want) {
			t.Errorf("%s: warnings %q, want %q", code, earlier, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for attempt, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 6: 320 * time.Second, 7: lastRetry, 1000: lastRetry} {
		if got := retryAfter(firstRetry, attempt); got != want {
			t.Errorf("after attempt %d: %v, want %v", attempt, got, want)
		}
	}
}

// What was stored for a job that is cancelled before it completes is removed, and
// so are checkpoints of a job that nobody ran to its end.
func TestNothingOfACancelledJobStays(t *testing.T) {
	s := newService(t)
	var id string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server doesn't see the client go
		if _, _, err := s.broker.Cancel(t.Context(), id); err != nil {
			t.Error(err)
		}
		<-r.Context().Done() // the trainer gives the upload up
	}))
	defer server.Close()
	s.bases.Hub = &hub.Client{Endpoint: server.URL, Token: "hf_test"}
	one := 1
	job := s.submit(story(3000), func(j *scu.Job) {
		j.Config.Steps, j.Config.AutoUploadToHub, j.Config.HubAdapterName = &one, true, "owner/name"
	})
	id = job.ID
	left := scu.NewJobID()
	e := scu.Submission(scu.Job{ID: left, BaseModel: job.BaseModel, Config: job.Config, TrainData: job.TrainData, Class: "cpu"}, time.Now())
	_, err := s.broker.Submit(t.Context(), e)
	must(t, err)
	_, _, err = s.broker.Cancel(t.Context(), left)
	must(t, err)
	must(t, checkpoint.Save(s.dir+"/checkpoints/"+left, checkpoint.State{Step: 1}))

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.trainer("a", nil).Run(ctx); close(done) }()
	if end := s.wait(job.ID, nil); end.Status != scu.Cancelled || end.Phase != scu.Uploading {
		t.Fatalf("%s in phase %s: %v", end.Status, end.Phase, end.Error)
	}
	s.bases.Hub = nil
	s.wait(s.submit(story(3000), func(j *scu.Job) { j.Config.Steps = &one }).ID, nil) // the trainer is done with the other
	if _, _, err := s.broker.GetAdapter(t.Context(), scu.AdapterKey{Job: job.ID, Attempt: 1}); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("the adapter of a cancelled job stays: %v", err)
	}
	stop()
	<-done
	if left, _ := os.ReadDir(s.dir + "/checkpoints"); len(left) != 0 {
		t.Errorf("checkpoints stay: %v", left)
	}
}

func TestCancelInMidStep(t *testing.T) {
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	job := s.submit(story(200_000), func(j *scu.Job) { j.Config.Epochs = 1000 })
	var asked time.Time
	end := s.wait(job.ID, func(m scu.Metrics) {
		if m.Step == 3 {
			asked = time.Now()
			_, _, err := s.broker.Cancel(t.Context(), job.ID)
			must(t, err)
		}
	})
	if end.Status != scu.Cancelled || asked.IsZero() {
		t.Fatalf("job is %s", end.Status)
	}
	// The trainer is free again: another job runs.
	next := s.wait(s.submit(story(3000), nil).ID, nil)
	if next.Status != scu.Completed {
		t.Fatalf("the next job is %s: %v", next.Status, next.Error)
	}
	if took := next.StartedAt.Sub(asked); took > time.Minute { // its epochs would take hours
		t.Errorf("the trainer was free %v after the cancel", took)
	}
}

// Fifty jobs of mixed priorities that wait when the trainers come: all are run,
// none twice, the higher priority first and within one the older.
func TestFiftyJobsInPriorityOrder(t *testing.T) {
	t.Parallel()
	s := newService(t)
	one := 1
	var order []string // as they should start
	byPriority := map[int][]string{}
	for i := range 50 {
		p := (i*7)%11 - 5
		j := s.submit(story(1000), func(j *scu.Job) {
			j.Priority, j.Config.Steps, j.Config.BlockSize, j.Config.ValFraction = p, &one, 16, 0
		})
		byPriority[p] = append(byPriority[p], j.ID)
	}
	for p := scu.MaxPriority; p >= scu.MinPriority; p-- {
		order = append(order, byPriority[p]...)
	}
	// The queue follows the log, in its order: when it has a last job, of another
	// class, it has all.
	s.submit(story(1000), func(j *scu.Job) { j.Class = "gpu24" })
	queue, err := s.broker.Queue(t.Context(), "last", []string{"gpu24"})
	must(t, err)
	defer queue.Close()
	_, err = queue.Next(t.Context())
	must(t, err)

	go s.trainer("a", nil).Run(t.Context())
	var started []string
	completed := map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err = s.broker.Follow(ctx, scu.Position{}, func(b scu.Batch) error {
		for _, e := range b.State {
			switch e.Event.Type {
			case scu.EventStarted:
				started = append(started, e.Event.Job.ID)
			case scu.EventCompleted:
				if completed[e.Event.Job.ID]++; len(completed) == 50 {
					return io.EOF
				}
			}
		}
		return nil
	})
	if err != io.EOF {
		t.Fatalf("%d of 50 jobs completed: %v", len(completed), err)
	}
	if !slices.Equal(started, order) {
		t.Errorf("started in another order than their priorities':\n got %v\nwant %v", started, order)
	}
	for id, n := range completed {
		if n != 1 {
			t.Errorf("job %s completed %d times", id, n)
		}
	}
}

// BenchmarkSubmitToFirstStep is the time from a submission to its first metric
// event, on a warm server: the trainer is idle and the model was used before.
func BenchmarkSubmitToFirstStep(b *testing.B) {
	s := newService(b)
	go s.trainer("a", nil).Run(b.Context())
	two := 2
	for b.Loop() {
		job := s.submit(story(20_000), func(j *scu.Job) { j.Config.Steps, j.Config.ValFraction = &two, 0 })
		metrics, err := s.broker.FollowMetrics(b.Context(), job.ID)
		if err != nil {
			b.Fatal(err)
		}
		<-metrics
		b.StopTimer()
		s.wait(job.ID, nil)
		b.StartTimer()
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	for name, c := range map[string]struct {
		change func(*scu.Job)
		code   scu.Code
		says   string
	}{
		"no such folder":  {func(j *scu.Job) { j.BaseModel, j.Config.BaseModel = "/nonexistent/model", "/nonexistent/model" }, scu.CodeInvalid, "config.json"},
		"no such data":    {func(j *scu.Job) { j.TrainData.ID = strings.Repeat("0", 64) }, scu.CodeNotFound, ""},
		"unknown modules": {func(j *scu.Job) { j.Config.LoRA.TargetModules = []string{"qq_proj"} }, scu.CodeInvalid, "names no linear module"},
	} {
		t.Run(name, func(t *testing.T) {
			end := s.wait(s.submit(story(4000), c.change).ID, nil)
			if end.Status != scu.Failed || end.Error == nil || end.Error.Code != c.code || !strings.Contains(end.Error.Error(), c.says) {
				t.Fatalf("%s: %+v", end.Status, end.Error)
			}
		})
	}
}
