package trainer

import (
	"context"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
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
