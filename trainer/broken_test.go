package trainer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// A base with NaN among its weights fails its job by the tensor's name, and a run
// that diverges by the step and the block; the trainer goes on with the next job.
func TestNonFiniteFailsTheJob(t *testing.T) {
	s := newService(t)
	broken := filepath.Join(s.dir, "broken")
	must(t, os.CopyFS(broken, os.DirFS("../models/bookworm-2m")))
	weights := filepath.Join(broken, "model.safetensors")
	must(t, inPlace(weights, func(b []byte) {
		for i := len(b) / 2; i < len(b); i++ {
			b[i] = 0xff
		}
	}))
	go s.trainer("a", nil).Run(t.Context())
	for name, c := range map[string]struct {
		change        func(*scu.Job)
		field, phrase string
	}{
		"broken base": {func(j *scu.Job) { j.BaseModel, j.Config.BaseModel = broken, broken }, "base_model", "before the first step has a loss of NaN: the base model's tensor model.layers."},
		"divergence":  {func(j *scu.Job) { j.Config.LearningRate, j.Config.ValFraction = 1e30, 0 }, "", "; it arose in block model.layers."},
	} {
		end := s.wait(s.submit(story(20_000), c.change).ID, nil)
		if end.Status != scu.Failed || end.Error == nil || end.Error.Code != scu.CodeInvalid || end.Error.Field != c.field || !strings.Contains(end.Error.Message, c.phrase) {
			t.Errorf("%s: %s, %+v", name, end.Status, end.Error)
		} else {
			t.Log(end.Error)
		}
	}
	one := 1
	if next := s.wait(s.submit(story(3000), func(j *scu.Job) { j.Config.Steps = &one }).ID, nil); next.Status != scu.Completed {
		t.Errorf("the next job is %s: %v", next.Status, next.Error)
	}
}
