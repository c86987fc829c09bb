package trainer

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/eval"
)

// spoilt changes a job to one that soon gets worse: it validates after each step.
func spoilt(j *scu.Job) {
	steps := 12
	j.Config.Steps, j.Config.LearningRate, j.Config.EvalEvery, j.Config.CheckpointEvery = &steps, 0.3, 1, 1
}

// The adapter has the weights with the lowest validation loss, and says of which step
// they are; with keep "last" it has the last ones, and says that they are worse than
// the base.
func TestKeep(t *testing.T) {
	t.Parallel()
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	val, err := s.files.Put(t.Context(), "val.txt", strings.NewReader(story(9_000)[3_000:]), 1<<30)
	must(t, err)
	for _, keep := range []string{scu.KeepBest, scu.KeepLast} {
		losses := map[int]float64{}
		j := s.wait(s.submit(story(20_000), func(j *scu.Job) {
			spoilt(j)
			j.Config.Keep, j.ValData = keep, &val
		}).ID, func(m scu.Metrics) { losses[m.Step] = *m.ValLoss })
		got := j.Adapter.Metrics
		best := 1
		for step := range losses {
			if losses[step] < losses[best] || losses[step] == losses[best] && step < best {
				best = step
			}
		}
		want := map[string]int{scu.KeepBest: best, scu.KeepLast: 12}[keep]
		if best == 12 || got.KeptStep != want || *got.ValLossAfter != losses[want] || *got.ValLossLast != losses[12] || got.Steps != 12 {
			t.Errorf("keep %s: of %v it says %+v", keep, losses, got)
		}
		if losses[12] <= *got.ValLossBefore || !strings.HasPrefix(j.Warnings[0], "the run ended worse than it began: validation loss") {
			t.Errorf("keep %s: %v before, %v at the end, warnings %q", keep, *got.ValLossBefore, losses[12], j.Warnings)
		}
		if loss := s.evaluate(j, val); loss != losses[want] {
			t.Errorf("keep %s: the adapter's loss is %v, that of step %d %v", keep, loss, want, losses[want])
		}
	}
}

// evaluate is the loss of a job's adapter on a stored file.
func (s *service) evaluate(j scu.Job, on scu.File) float64 {
	s.t.Helper()
	z, err := zip.NewReader(bytes.NewReader(s.adapter(j)), j.Adapter.Size)
	must(s.t, err)
	adapter := s.t.TempDir()
	must(s.t, os.CopyFS(adapter, z))
	path, err := s.files.Local(s.t.Context(), on.ID)
	must(s.t, err)
	base, err := s.bases.Locate(s.t.Context(), j.BaseModel)
	must(s.t, err)
	dev, err := cpu.New(2)
	must(s.t, err)
	defer dev.Close()
	r, _, err := eval.Run(s.t.Context(), dev, path, eval.Options{Base: base, Adapter: adapter, Config: j.Config})
	must(s.t, err)
	return r.Loss
}

// Patience ends a job as completed, with the best weights; broken off after every
// few steps it ends at the same step with the same bytes.
func TestEarlyStopping(t *testing.T) {
	t.Parallel()
	s := newService(t)
	patient := func(j *scu.Job) {
		spoilt(j)
		j.Config.EarlyStoppingPatience = 3
	}
	var ends [2]scu.Job
	for i, at := range []int{0, 3} {
		ends[i] = s.attempts(patient, func(int, int) {}, func(ctx context.Context, n int, _ scu.Job) {
			s.attempt(ctx, fmt.Sprintf("t%d-%d", i, n), "v1", &interrupter{name: "cpu", atUpdate: at})
		})
	}
	whole := ends[0].Adapter.Metrics
	if whole.Steps != whole.KeptStep+3 || whole.Steps >= 12 || !strings.HasPrefix(whole.EndedEarly, fmt.Sprintf("after step %d of 12: 3 validations in a row", whole.Steps)) {
		t.Errorf("it ended with %+v", whole)
	}
	if ends[1].Attempt < 2 {
		t.Errorf("it was never broken off")
	}
	if !bytes.Equal(s.adapter(ends[0]), s.adapter(ends[1])) {
		t.Error("the adapter has other bytes than the one of a run that was never broken off")
	}
}

// A patience of one validation is told as one.
func TestEnoughOfOneValidation(t *testing.T) {
	r := run{steps: 12, stale: 1, best: &checkpoint.Best{}}
	r.job.Config.EarlyStoppingPatience = 1
	if why := r.enough(3); !strings.HasPrefix(why, "after step 3 of 12: 1 validation in a row brought") {
		t.Error(why)
	}
}

// Adapters are kept at validations, the newest and the best, as whole as the job's own;
// a run that is broken off at every turn leaves the same ones, byte for byte.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	s := newService(t)
	zips := map[int][2][]byte{}
	for i, at := range []int{0, 2} {
		end := s.attempts(func(j *scu.Job) { spoilt(j); j.Config.KeepCheckpoints = 2 }, func(int, int) {}, func(ctx context.Context, n int, _ scu.Job) {
			s.attempt(ctx, fmt.Sprintf("c%d-%d", i, n), "v1", &interrupter{name: "cpu", atUpdate: at})
		})
		if len(end.Checkpoints) != 3 || end.Checkpoints[2].Step != 12 || end.Checkpoints[1].Step != 11 || !end.Checkpoints[0].Best || end.Checkpoints[0].Step != end.Adapter.Metrics.KeptStep {
			t.Fatalf("kept %+v", end.Checkpoints)
		}
		for _, c := range end.Checkpoints {
			r, size, err := s.broker.GetAdapter(t.Context(), scu.AdapterKey{Job: end.ID, Attempt: c.Attempt, Step: c.Step})
			must(t, err)
			b, err := io.ReadAll(r)
			must(t, err)
			r.Close()
			if sum := sha256.Sum256(b); size != c.Size || hex.EncodeToString(sum[:]) != c.SHA256 {
				t.Errorf("the checkpoint of step %d has other bytes than it says", c.Step)
			}
			both := zips[c.Step]
			both[i] = b
			zips[c.Step] = both
		}
		if _, _, err := s.broker.GetAdapter(t.Context(), scu.AdapterKey{Job: end.ID, Attempt: 1, Step: end.Checkpoints[0].Step + 1}); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("a checkpoint that was pushed out is still there: %v", err)
		}
	}
	for step, both := range zips {
		if !bytes.Equal(both[0], both[1]) {
			t.Errorf("the checkpoint of step %d has other bytes where the run was broken off", step)
		}
	}
}

// A job that is asked to stop completes with the best of what it has learned so far, the
// step it was at included; asked twice is asked once. One that waits isn't stopped.
func TestStop(t *testing.T) {
	t.Parallel()
	s := newService(t)
	waiting := s.submit(story(20_000), nil)
	if _, _, err := s.broker.Stop(t.Context(), waiting.ID); scu.CodeOf(err) != scu.CodeConflict || !strings.Contains(err.Error(), "is queued: there is no run to stop") {
		t.Errorf("a queued job: %v", err)
	}
	_, _, err := s.broker.Cancel(t.Context(), waiting.ID)
	must(t, err)
	go s.trainer("a", nil).Run(t.Context())
	losses, asked := map[int]float64{}, 0
	end := s.wait(s.submit(story(60_000), func(j *scu.Job) { j.Config.Epochs = 1000 }).ID, func(m scu.Metrics) {
		if m.ValLoss != nil {
			losses[m.Step] = *m.ValLoss
		}
		if m.Step == 5 {
			asked = m.Step
			for _, want := range []bool{false, true} {
				if _, already, err := s.broker.Stop(t.Context(), m.JobID); err != nil || already != want {
					t.Errorf("stop: already %v, %v", already, err)
				}
			}
		}
	})
	got := end.Adapter.Metrics
	if end.Status != scu.Completed || got.Steps < asked || got.Steps > asked+1000 || got.EndedEarly != fmt.Sprintf("after step %d of %d: it was asked to stop", got.Steps, end.Steps) {
		t.Errorf("%s with %+v", end.Status, got)
	}
	if loss, ok := losses[got.KeptStep]; !ok || *got.ValLossAfter != loss || *got.ValLossLast != losses[got.Steps] {
		t.Errorf("of %v it says %+v", losses, got)
	}
	s.adapter(end)
	if _, _, err := s.broker.Stop(t.Context(), end.ID); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("a completed job: %v", err)
	}
}

// A job that begins from another's adapter begins at its loss, and broken off at every
// turn it ends with the same bytes. An adapter of another rank is refused by name.
func TestFromAdapter(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.trainer("a", nil).Run(ctx); close(done) }()
	val, err := s.files.Put(t.Context(), "val.txt", strings.NewReader(story(9_000)[3_000:]), 1<<30)
	must(t, err)
	steps := 8
	first := s.wait(s.submit(story(20_000), func(j *scu.Job) { j.Config.Steps, j.ValData = &steps, &val }).ID, nil)
	zip, err := s.files.Put(t.Context(), "adapter.zip", bytes.NewReader(s.adapter(first)), 1<<30)
	must(t, err)
	refused := s.wait(s.submit(story(8000), func(j *scu.Job) { j.Config.FromAdapterFile, j.Config.LoRA.R = zip.ID, 8 }).ID, nil)
	if refused.Status != scu.Failed || refused.Error.Field != "from_adapter" || !strings.Contains(refused.Error.Error(), "the adapter has rank 4 on") || !strings.Contains(refused.Error.Hint, "set lora.r to 4") {
		t.Errorf("another rank: %s, %v", refused.Status, refused.Error)
	}
	stop()
	<-done
	var ends [2]scu.Job
	for i, at := range []int{0, 3} {
		ends[i] = s.attempts(func(j *scu.Job) {
			interrupted(2)(j)
			j.Config.BlockSize, j.Config.FromAdapterFile, j.ValData = first.Config.BlockSize, zip.ID, &val
		}, func(int, int) {}, func(ctx context.Context, n int, _ scu.Job) {
			s.attempt(ctx, fmt.Sprintf("f%d-%d", i, n), "v1", &interrupter{name: "cpu", atUpdate: at})
		})
		if got, want := *ends[i].Adapter.Metrics.ValLossBefore, *first.Adapter.Metrics.ValLossAfter; got != want {
			t.Errorf("it begins with a loss of %v; the adapter has %v", got, want)
		}
	}
	if !bytes.Equal(s.adapter(ends[0]), s.adapter(ends[1])) {
		t.Error("the adapter has other bytes where the run was broken off")
	}
}

// What a cancelled job had kept at its validations can still be had.
func TestCheckpointsOutliveACancel(t *testing.T) {
	t.Parallel()
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	end := s.wait(s.submit(story(20_000), func(j *scu.Job) { j.Config.Epochs, j.Config.EvalEvery = 1000, 1 }).ID, func(m scu.Metrics) {
		if m.Step == 4 {
			_, _, err := s.broker.Cancel(t.Context(), m.JobID)
			must(t, err)
		}
	})
	c, err := end.Checkpoint("last")
	if end.Status != scu.Cancelled || err != nil || c.Step < 3 {
		t.Fatalf("the %s job has %+v, %v", end.Status, end.Checkpoints, err)
	}
	r, _, err := s.broker.GetAdapter(t.Context(), scu.AdapterKey{Job: end.ID, Attempt: c.Attempt, Step: c.Step})
	must(t, err)
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || int64(len(b)) != c.Size {
		t.Errorf("%d bytes of %d, %v", len(b), c.Size, err)
	}
}

// Where lambda rests at a bound, its bounds stand beside it in every step and in the
// summary, and the job says what to change.
func TestAtABound(t *testing.T) {
	t.Parallel()
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	steps, bounded := 21, 0
	end := s.wait(s.submit(story(20_000), func(j *scu.Job) { j.Config.Steps, j.Config.Control.LambdaMax = &steps, 1 }).ID, func(m scu.Metrics) {
		if m.TargetS != 0.01 {
			t.Errorf("step %d: the target is %v", m.Step, m.TargetS)
		}
		if m.LambdaMax != nil && *m.LambdaMax == 1 && *m.LambdaMin == 1e-6 && m.LambdaNext == 1 {
			bounded++
		}
	})
	got := end.Adapter.Metrics
	if bounded != steps || got.LambdaMax == nil || *got.LambdaMax != 1 || got.TargetS != 0.01 || got.Lambda != 1 {
		t.Errorf("%d steps at a bound of %d; %+v", bounded, steps, got)
	}
	if w := strings.Join(end.Warnings, "\n"); !strings.Contains(w, "times its target 0.01; lambda rested at its bound 1 for the last 21 steps and no longer controlled S; raise control.lambda_max") {
		t.Errorf("warnings:\n%s", w)
	}
}
