package trainer

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/estimate"
)

// calibration is on the device that the tests' jobs train on.
func calibration() *estimate.Calibration {
	return &estimate.Calibration{Device: devices.CPU(2)}
}

// What is known of a job ahead is what becomes of it: its data's blocks, its
// steps, its tokens, its adapter.
func TestAheadIsWhatHappens(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := &Preflight{Bases: s.bases, Files: s.files, CacheDir: s.dir + "/cache", Calibration: calibration()}
	go s.trainer("a", nil).Run(t.Context())
	j := s.wait(s.submit(story(9_000), func(j *scu.Job) { j.Config.EvalEvery = 4 }).ID, nil)
	if j.Status != scu.Completed {
		t.Fatalf("%+v", j)
	}
	check, err := p.CheckData(t.Context(), &j.Config, j.TrainSources(), 2)
	must(t, err)
	if check.Error != nil || len(check.Preview) != 2 || len(check.Preview[0]) != j.Config.BlockSize {
		t.Errorf("%d blocks shown, error %v", len(check.Preview), check.Error)
	}
	e, err := p.Estimate(t.Context(), &j.Config, j.TrainSources(), nil, 0)
	must(t, err)
	sum := j.Adapter.Metrics
	if e.Steps != sum.Steps || e.Tokens != sum.Tokens || e.Trainable != sum.TrainableCount || e.Seconds <= 0 || e.Memory.Peak <= e.Memory.Activations {
		t.Errorf("estimated %+v, happened %+v", e, sum)
	}
	byCount, err := p.Estimate(t.Context(), &j.Config, nil, nil, check.Report.Tokens)
	must(t, err)
	if byCount.Steps != e.Steps || byCount.Validations != e.Validations || byCount.Memory.Peak != e.Memory.Peak {
		t.Errorf("by the number of tokens %+v, by the data %+v", byCount, e)
	}
}

func TestCheckDataTellsOfBadLines(t *testing.T) {
	s := newService(t)
	p := &Preflight{Bases: s.bases, Files: s.files, Calibration: calibration()}
	f, err := s.files.Put(t.Context(), "rows.jsonl", strings.NewReader("{\"text\": \"good\"}\n{\"text\": 5}\n"), 1<<20)
	must(t, err)
	cfg := scu.DefaultConfig()
	cfg.BaseModel = "bookworm-2m"
	check, err := p.CheckData(t.Context(), &cfg, one(f), 1)
	must(t, err)
	if check.Error == nil || len(check.Report.Refused) != 1 || check.Report.Refused[0].Lines[0].Line != 2 || check.Preview != nil {
		t.Errorf("%+v", check)
	}
	f.Size = maxChecked + 1
	if _, err := p.CheckData(t.Context(), &cfg, one(f), 1); scu.CodeOf(err) != scu.CodeTooLarge {
		t.Errorf("a large file: %v", err)
	}
	if _, err := p.Estimate(t.Context(), &cfg, one(f), nil, 0); scu.CodeOf(err) != scu.CodeTooLarge {
		t.Errorf("a large file: %v", err)
	}
}
