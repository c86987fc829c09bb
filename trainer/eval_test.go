package trainer

import (
	"archive/zip"
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/eval"
)

// eval gives, of a downloaded adapter, the validation loss that its job told.
func TestEvalEqualsValidation(t *testing.T) {
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	held := story(9_000)[3_000:]
	val, err := s.files.Put(t.Context(), "val.txt", strings.NewReader(held), 1<<30)
	must(t, err)
	steps := 8
	j := s.wait(s.submit(story(20_000), func(j *scu.Job) { j.ValData, j.Config.Steps = &val, &steps }).ID, nil)

	z, err := zip.NewReader(bytes.NewReader(s.adapter(j)), j.Adapter.Size)
	must(t, err)
	adapter := t.TempDir()
	must(t, os.CopyFS(adapter, z))
	path, err := s.files.Local(t.Context(), val.ID)
	must(t, err)
	base, err := s.bases.Locate(t.Context(), j.BaseModel)
	must(t, err)
	dev, err := cpu.New(2)
	must(t, err)
	defer dev.Close()
	for folder, want := range map[string]*float64{"": j.Adapter.Metrics.ValLossBefore, adapter: j.Adapter.Metrics.ValLossAfter} {
		got, _, err := eval.Run(t.Context(), dev, path, eval.Options{Base: base, Adapter: folder, Config: j.Config})
		must(t, err)
		if want == nil || got.Loss != *want {
			t.Errorf("adapter %q: eval gives %v, the job told %v", folder, got.Loss, want)
		}
	}
}
