package trainer

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
)

// The precision that is recommended is one that jobs have where they run.
func TestRecommendedPrecision(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		class  string
		memory int64
		fp16   bool
		says   string
	}{
		{"cpu", 80 << 30, false, "no trainer has a GPU"},
		{"gpu", 80 << 30, true, "fit the GPU's 80 GiB"},
	} {
		p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, CacheDir: t.TempDir(), Calibration: calibration(),
			Trainers: func(context.Context) []scu.Presence {
				return []scu.Presence{{Classes: []string{c.class}, Memory: c.memory}}
			}}
		r, err := p.Recommend(t.Context(), models.BuiltIn, nil, nil)
		must(t, err)
		reason := ""
		for _, choice := range r.Choices {
			if choice.Field == "use_4bit" {
				reason = choice.Reason
			}
		}
		if r.Config["use_fp16"] != c.fp16 || r.Config["use_4bit"] != false || !strings.Contains(reason, c.says) {
			t.Errorf("class %s: %v, %q", c.class, r.Config, reason)
		}
	}
}

// What is recommended for rows, which don't fill their blocks, counts the steps that a job has
// then: as many as the estimate says, with validation data held out or given.
func TestRecommendedStepsAreTheJobs(t *testing.T) {
	t.Parallel()
	store, err := files.Open(t.TempDir())
	must(t, err)
	f, err := os.Open("../examples/chat/chat.jsonl")
	must(t, err)
	defer f.Close()
	chat, err := store.Put(t.Context(), "chat.jsonl", f, 1<<20)
	must(t, err)
	p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
	train := scu.Sources{{File: chat}}
	for _, val := range []*scu.File{nil, &chat} {
		r, err := p.Recommend(t.Context(), models.BuiltIn, train, val)
		must(t, err)
		cfg, err := r.Overlay(scu.DefaultConfig())
		must(t, err)
		cfg.BaseModel, cfg.Epochs = models.BuiltIn, 1
		e, err := p.Estimate(t.Context(), &cfg, train, val, 0)
		must(t, err)
		epochs := r.Choices[len(r.Choices)-1]
		if want := fmt.Sprintf("one pass is only %d steps;", e.Steps); epochs.Field != "epochs" || !strings.HasPrefix(epochs.Reason, want) {
			t.Errorf("%+v; want %q", epochs, want)
		}
	}
}
