package trainer

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/folder"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/checkpoint"
)

// interrupter is a device that calls stop at one of its calls: in a forward pass,
// of a step or of a validation, in the optimiser, and while a step's figures or a
// checkpoint's weights are read.
type interrupter struct {
	kernels.Device
	name           string
	beside         bool // it begins with a step before the one before it is told of, as a GPU does
	calls, updates int  // so far; updates are the optimiser's
	at, atUpdate   int  // the one that stops; 0: none
	stop           context.CancelFunc
}

func (d *interrupter) call() {
	if d.calls++; d.calls == d.at {
		d.stop()
	}
}

func (d *interrupter) Name() string { return d.name }

func (d *interrupter) Norm(n kernels.Norm) {
	d.call()
	d.Device.Norm(n)
}

func (d *interrupter) AdamW(a kernels.AdamW) {
	d.Device.AdamW(a)
	if d.updates++; d.updates == d.atUpdate {
		d.stop()
	}
	d.call()
}

func (d *interrupter) ReadF64(dst []float64, src kernels.Buffer) error {
	d.call()
	return d.Device.ReadF64(dst, src)
}

func (d *interrupter) ReadF32(dst []float32, src kernels.Buffer) error {
	d.call()
	return d.Device.ReadF32(dst, src)
}

// attempt runs a trainer on a device until that stops it, or until ctx ends.
func (s *service) attempt(ctx context.Context, name, version string, dev *interrupter) {
	ctx, dev.stop = context.WithCancel(ctx)
	defer dev.stop()
	tr := s.trainer(name, func() (_ kernels.Device, err error) {
		dev.Device, err = cpu.New(1)
		if dev.beside {
			return besideHost{dev, false}, err
		}
		return dev, err
	})
	tr.Version = version
	if err := tr.Run(ctx); err != nil {
		s.t.Error(err)
	}
}

// attempts submits a job and runs trainers on it, one after the other, until it
// has ended; each is told of the step that an attempt begins with.
func (s *service) attempts(change func(*scu.Job), first func(attempt, step int), run func(ctx context.Context, n int, job scu.Job)) scu.Job {
	job := s.submit(story(8000), change)
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ctx.Err() == nil; n++ {
			run(ctx, n, job)
		}
	}()
	last := 0
	end := s.wait(job.ID, func(m scu.Metrics) {
		if m.Attempt != last {
			last = m.Attempt
			first(m.Attempt, m.Step)
		}
	})
	stop()
	<-done
	return end
}

// interrupted changes a job to one that validates and checkpoints often.
func interrupted(every int) func(*scu.Job) {
	return func(j *scu.Job) {
		steps := 12
		c := &j.Config
		c.Steps, c.BlockSize, c.GradientAccumulationSteps, c.LoRA.Dropout = &steps, 32, 2, 0.1
		c.EvalEvery, c.CheckpointEvery = 2, every
	}
}

// damages are what can befall a run's checkpoints, newest last, between two
// attempts. Without the newest it is as if the trainer had been killed before it.
var damages = []struct {
	what string
	do   func(r *rand.Rand, files []string) error
}{
	{"newest gone", func(_ *rand.Rand, files []string) error { return os.Remove(files[len(files)-1]) }},
	{"all gone", func(_ *rand.Rand, files []string) error {
		return os.RemoveAll(filepath.Dir(files[0]))
	}},
	{"newest cut off", func(r *rand.Rand, files []string) error {
		info, err := os.Stat(files[len(files)-1])
		if err != nil {
			return err
		}
		return os.Truncate(files[len(files)-1], r.Int64N(info.Size()))
	}},
	{"a bit of the newest flipped", func(r *rand.Rand, files []string) error {
		return inPlace(files[len(files)-1], func(b []byte) { b[r.IntN(len(b))] ^= 1 << r.IntN(8) })
	}},
	{"another digest", func(r *rand.Rand, files []string) error {
		return inPlace(files[len(files)-1], func(b []byte) {
			at := bytes.Index(b, []byte(`"sha256":"`)) + len(`"sha256":"`)
			copy(b[at:], strings.Repeat("0", 64))
		})
	}},
	{"the older one in the newest's place", func(_ *rand.Rand, files []string) error {
		b, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		return os.WriteFile(files[len(files)-1], b, 0o600)
	}},
	{"half of one in the making", func(_ *rand.Rand, files []string) error {
		return os.WriteFile(filepath.Join(filepath.Dir(files[0]), ".partial-1"), []byte("half"), 0o600)
	}},
}

func inPlace(path string, change func([]byte)) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	change(b)
	return os.WriteFile(path, b, 0o600)
}

// A job that is broken off again and again, wherever that happens, and whose
// checkpoints are damaged meanwhile, ends with the bytes of one that wasn't, whether it
// computes activations again or not.
func TestInterruptedAnywhereSameBytes(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for every := 1; every <= 3; every++ {
		beside := every != 1
		dev := &interrupter{name: "cpu", beside: beside}
		change := func(j *scu.Job) {
			interrupted(every)(j)
			j.Config.GradientCheckpointing = new(every == 2)
		}
		want := s.adapter(s.attempts(change, func(int, int) {}, func(ctx context.Context, n int, _ scu.Job) {
			s.attempt(ctx, "whole", "v1", dev)
		}))
		r := rand.New(rand.NewPCG(7, uint64(every)))
		var history []string
		tell := func(format string, args ...any) { history = append(history, fmt.Sprintf(format, args...)) }
		end := s.attempts(change, func(int, int) {}, func(ctx context.Context, n int, job scu.Job) {
			d := &interrupter{name: "cpu", beside: beside, at: 1 + r.IntN(dev.calls/2)}
			s.attempt(ctx, fmt.Sprintf("t%d", n), "v1", d)
			tell("attempt %d: stopped at call %d, after %d updates", n, d.at, d.updates)
			files, _ := filepath.Glob(filepath.Join(s.dir, "checkpoints", job.ID, "*", "*.safetensors"))
			if len(files) == 0 || r.IntN(2) == 0 {
				return
			}
			damage := damages[r.IntN(len(damages))]
			tell("%d checkpoints: %s", len(files), damage.what)
			if err := damage.do(r, files); err != nil {
				t.Error(err)
			}
		})
		t.Logf("checkpoints every %d steps, %d calls in all:\n%s", every, dev.calls, strings.Join(history, "\n"))
		if end.Attempt < 3 {
			t.Errorf("only %d attempts", end.Attempt)
		}
		if got := s.adapter(end); !bytes.Equal(got, want) {
			t.Error("the adapter has other bytes than the one of a run that was never broken off")
		}
	}
}

// A job that comes to another kind of device begins again there, and says so; back
// on the first kind it goes on from where that had come. A new version of the
// program goes on from an old one's checkpoint, and says so.
func TestAnotherKindOfDeviceBeginsAgain(t *testing.T) {
	t.Parallel()
	s := newService(t)
	firsts := map[int]int{}
	end := s.attempts(interrupted(1), func(attempt, step int) { firsts[attempt] = step }, func(ctx context.Context, n int, _ scu.Job) {
		switch n {
		case 1:
			s.attempt(ctx, "a", "v1", &interrupter{name: "cpu (old)", atUpdate: 6})
		case 2:
			s.attempt(ctx, "b", "v1", &interrupter{name: "cpu (new)", atUpdate: 3})
		default:
			s.attempt(ctx, "a", "v2", &interrupter{name: "cpu (old)"})
		}
	})
	s.adapter(end)
	if want := map[int]int{1: 1, 2: 1, 3: 6}; !maps.Equal(firsts, want) {
		t.Errorf("the attempts began with the steps %v, want %v", firsts, want)
	}
	want := []string{
		"started over on cpu (new): cpu (old) had reached step 6, but their results differ in the last bits",
		"trained to step 6 by scu v1 and from there by scu v2: the adapter's bytes may differ from those of either version",
	}
	earlier := end.Warnings[len(end.Adapter.Metrics.Warnings):] // those of how it ended come first
	if !slices.Equal(earlier, want) {
		t.Errorf("warnings %q, want %q", end.Warnings, want)
	}
}

// A job that fails keeps its last checkpoint for a week; one that ended otherwise has
// no more use for it.
func TestAFailedJobKeepsItsCheckpoint(t *testing.T) {
	s := newService(t)
	dev := &interrupter{name: "cpu", atUpdate: 5, stop: func() { panic("out of order") }}
	tr := s.trainer("a", func() (_ kernels.Device, err error) {
		dev.Device, err = cpu.New(1)
		if dev.beside {
			return besideHost{dev, false}, err
		}
		return dev, err
	})
	job := s.submit(story(8000), interrupted(2))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); tr.Run(ctx) }()
	end := s.wait(job.ID, nil)
	stop()
	<-done // it has swept
	if end.Status != scu.Failed {
		t.Fatalf("job is %s", end.Status)
	}
	kept, err := filepath.Glob(filepath.Join(tr.checkpoints(job.ID), "*", "*"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	at := *end.CompletedAt
	for _, c := range []struct {
		status scu.Status
		after  time.Duration
		spent  bool
	}{{scu.Failed, 0, false}, {scu.Failed, keepFailed, false}, {scu.Failed, keepFailed + 1, true}, {scu.Completed, 0, true}, {scu.Cancelled, 0, true}, {scu.Queued, 0, false}} {
		if got := spent(scu.Job{Status: c.status, CompletedAt: &at}, at.Add(c.after)); got != c.spent {
			t.Errorf("%s, %v after its end: spent %v", c.status, c.after, got)
		}
	}
}

// A job that is deleted leaves no checkpoint with a trainer; those of a job that the log
// doesn't know are another service's.
func TestDeletedJobLeavesNoCheckpoint(t *testing.T) {
	t.Parallel()
	s := newService(t)
	j := s.submit(story(8_000), nil)
	_, _, err := s.broker.Append(t.Context(), j.ID, "a", func(j scu.Job) (scu.Event, error) { return j.Fail(0, scu.Errorf(scu.CodeInvalid, "no"), time.Now()) })
	must(t, err)
	tr, other := s.trainer("a", nil), scu.NewJobID()
	for _, id := range []string{j.ID, other} {
		must(t, os.MkdirAll(tr.checkpoints(id), 0o700))
	}
	left := func() (ids []string) {
		entries, err := os.ReadDir(tr.CheckpointDir)
		must(t, err)
		for _, e := range entries {
			ids = append(ids, e.Name())
		}
		return ids
	}
	tr.sweep(t.Context())
	if ids := left(); len(ids) != 2 {
		t.Fatalf("of a failed job and an unknown one %v are left", ids)
	}
	must(t, s.broker.Delete(t.Context(), j.ID))
	tr.sweep(t.Context())
	if ids := left(); !slices.Equal(ids, []string{other}) {
		t.Errorf("%v are left, want %s alone", ids, other)
	}
}

// stuckBlobs are blobs that can't be deleted for now.
type stuckBlobs struct {
	scu.Blobs
	stuck bool
}

func (b *stuckBlobs) Delete(ctx context.Context, key scu.BlobKey) error {
	if b.stuck {
		return scu.Errorf(scu.CodeUnavailable, "not now")
	}
	return b.Blobs.Delete(ctx, key)
}

// Shared checkpoints of a deleted job that can't be removed now are removed later.
func TestSharedCheckpointsAreRemovedLater(t *testing.T) {
	t.Parallel()
	s := newService(t)
	j := s.submit(story(8_000), nil)
	_, _, err := s.broker.Append(t.Context(), j.ID, "a", func(j scu.Job) (scu.Event, error) { return j.Fail(0, scu.Errorf(scu.CodeInvalid, "no"), time.Now()) })
	must(t, err)
	must(t, s.broker.Delete(t.Context(), j.ID))
	kept, err := folder.Open(t.TempDir())
	must(t, err)
	blobs := &stuckBlobs{Blobs: kept, stuck: true}
	tr := s.trainer("a", nil)
	tr.Checkpoints = blobs
	state := checkpoint.State{Run: "run", Attempt: 1, Step: 10, Param: []float32{1}, M: []float32{1}, V: []float32{1}}
	must(t, checkpoint.Save(tr.checkpoints(j.ID), state))
	must(t, checkpoint.Shared{Blobs: blobs}.Send(t.Context(), tr.checkpoints(j.ID), state))
	left := func() int {
		all, _, err := blobs.List(t.Context(), scu.CheckpointBlob, "", "", 10)
		must(t, err)
		return len(all)
	}
	tr.sweep(t.Context())
	if n := left(); n != 1 {
		t.Fatalf("%d are left of a store that deletes nothing", n)
	}
	blobs.stuck = false
	tr.sweep(t.Context())
	if n := left(); n != 0 {
		t.Errorf("%d are left", n)
	}
}
