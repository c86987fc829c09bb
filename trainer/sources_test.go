package trainer

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
)

// one is training data of a single file.
func one(f scu.File) scu.Sources { return scu.Sources{{File: f}} }

// mixture gives a job a second source, of rows, which is read more than once an epoch.
func (s *service) mixture(j *scu.Job) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, `{"prompt":"How far is island %d?","completion":" It is %d miles to the island."}`+"\n", i, i*i%31)
	}
	f, err := s.files.Put(s.t.Context(), "islands.jsonl", strings.NewReader(b.String()), 1<<20)
	must(s.t, err)
	j.Sources = scu.Sources{{Path: "story.txt", Share: 1, File: j.TrainData}, {Path: "islands.jsonl", Share: 0.9, File: f}}
}

// A job on two sources that is broken off anywhere ends with the bytes of one that
// wasn't; other shares give other bytes.
func TestInterruptedMixtureSameBytes(t *testing.T) {
	t.Parallel()
	s := newService(t)
	job := func(share float64) func(*scu.Job) {
		return func(j *scu.Job) {
			interrupted(1)(j)
			s.mixture(j)
			j.Sources[1].Share = share
		}
	}
	whole := func(share float64) (scu.Job, int) {
		dev := &interrupter{name: "cpu"}
		return s.attempts(job(share), func(int, int) {}, func(ctx context.Context, _ int, _ scu.Job) { s.attempt(ctx, "whole", "v1", dev) }), dev.calls
	}
	plain, calls := whole(0.9)
	want := s.adapter(plain)
	end := s.attempts(job(0.9), func(int, int) {}, func(ctx context.Context, n int, _ scu.Job) {
		dev := &interrupter{name: "cpu"}
		if n <= 2 {
			dev.at = calls / 3
		}
		s.attempt(ctx, fmt.Sprintf("t%d", n), "v1", dev)
	})
	if end.Attempt != 3 {
		t.Errorf("%d attempts, want 3", end.Attempt)
	}
	if !bytes.Equal(s.adapter(end), want) {
		t.Error("the adapter has other bytes than the one of a run that was never broken off")
	}
	if other, _ := whole(0.3); bytes.Equal(s.adapter(other), want) {
		t.Error("other shares gave the same adapter")
	}
	var settings base.Training
	z, err := zip.NewReader(bytes.NewReader(want), int64(len(want)))
	must(t, err)
	f, err := z.Open(base.TrainingFile)
	must(t, err)
	must(t, json.NewDecoder(f).Decode(&settings))
	x := settings.Sources
	if len(x) != 2 || x[1].Name != "islands.jsonl" || x[1].Share != 0.9 || x[1].Documents != 36 || x[1].EpochTokens <= 2*x[1].Tokens || x[1].SHA256 != end.Sources[1].File.ID {
		t.Errorf("the adapter tells of the sources %+v", x)
	}
	if ratio := float64(x[1].EpochTokens) / float64(x[0].EpochTokens); ratio < 0.88 || ratio > 0.92 {
		t.Errorf("the sources are %.3f to 1, want 0.9", ratio)
	}
}

// What is known ahead of a job on two sources is what happens in it.
func TestAMixtureAhead(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := &Preflight{Bases: s.bases, Files: s.files, CacheDir: s.dir + "/cache", Calibration: calibration()}
	go s.trainer("a", nil).Run(t.Context())
	j := s.wait(s.submit(story(8000), func(j *scu.Job) { s.mixture(j) }).ID, nil)
	if j.Status != scu.Completed {
		t.Fatalf("%+v", j)
	}
	check, err := p.CheckData(t.Context(), &j.Config, j.TrainSources(), 1)
	must(t, err)
	if len(check.Sources) != 2 || check.Error != nil || check.Sources[1].Documents != 40 || check.Sources[0].Name != "story.txt" ||
		check.EpochTokens != check.Sources[0].EpochTokens+check.Sources[1].EpochTokens || check.Report.Format != "mixed" {
		t.Errorf("%+v", check)
	}
	e, err := p.Estimate(t.Context(), &j.Config, j.TrainSources(), nil, 0)
	must(t, err)
	if sum := j.Adapter.Metrics; e.Steps != sum.Steps || e.Tokens < sum.Tokens*98/100 || e.Tokens > sum.Tokens*102/100 {
		t.Errorf("estimated %d steps, %d tokens; happened %d, %d", e.Steps, e.Tokens, sum.Steps, sum.Tokens)
	}
	r, err := p.Recommend(t.Context(), j.BaseModel, j.TrainSources(), nil)
	must(t, err)
	if r.Tokens < 1000 {
		t.Errorf("recommended for %d tokens", r.Tokens)
	}
	j.Sources[1].Share = 9
	v := p.Validate(t.Context(), &j.Config, j.Sources, nil)
	if text := strings.Join(v.Texts(), "; "); !strings.Contains(text, "islands.jsonl is read ") {
		t.Errorf("no word of how often a source is read: %s", text)
	}
	j.Sources[1].Share = 900
	v = p.Validate(t.Context(), &j.Config, j.Sources, nil)
	if len(v.Errors) != 1 || v.Errors[0].Field != "train_data[1].share" {
		t.Errorf("%v", v.Errors)
	}
}
