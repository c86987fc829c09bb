package trainer

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"archive/zip"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/lora"
)

// A job with text of another kind tells the loss on it of the base, of the adapter and
// of the last weights, as scu eval has them.
func TestOtherData(t *testing.T) {
	t.Parallel()
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	other, err := s.files.Put(t.Context(), "other.txt", strings.NewReader(strings.Repeat("func main() { fmt.Println(42) }\n", 200)), 1<<30)
	must(t, err)
	j := s.wait(s.submit(story(20_000), func(j *scu.Job) {
		spoilt(j)
		j.OtherData = &other
	}).ID, func(scu.Metrics) {})
	got := j.Adapter.Metrics
	if got.KeptStep == got.Steps || got.OtherLossBefore == nil || *got.OtherLossLast <= *got.OtherLossBefore {
		t.Fatalf("it says %+v", got)
	}
	if loss := s.evaluate(j, other); loss != *got.OtherLossAfter {
		t.Errorf("the adapter's loss is %v, the summary says %v", loss, *got.OtherLossAfter)
	}
}

// The published code as it is, whose regulariser never reaches the weights, learns to the
// byte what lambda 0 learns; an applied lambda learns something else.
func TestUnappliedLawIsLambdaZero(t *testing.T) {
	t.Parallel()
	s := newService(t)
	go s.trainer("a", nil).Run(t.Context())
	weights := func(control scu.ControlConfig) []byte {
		j := s.wait(s.submit(story(20_000), func(j *scu.Job) {
			steps := 6
			j.Config.Steps, j.Config.Keep, j.Config.Control = &steps, scu.KeepLast, control
		}).ID, func(m scu.Metrics) {
			if control.Law == scu.LawFixed && (m.Lambda != control.LambdaInit || m.LambdaNext != control.LambdaInit || m.LambdaMax != nil) {
				t.Errorf("a fixed lambda of %v is %v, then %v", control.LambdaInit, m.Lambda, m.LambdaNext)
			}
		})
		z, err := zip.NewReader(bytes.NewReader(s.adapter(j)), j.Adapter.Size)
		must(t, err)
		f, err := z.Open(lora.WeightsFile)
		must(t, err)
		defer f.Close()
		b, err := io.ReadAll(f)
		must(t, err)
		return b
	}
	fixed := func(lambda float64) scu.ControlConfig {
		c := scu.DefaultControl(scu.LawFixed)
		c.LambdaInit = lambda
		return c
	}
	zero := weights(fixed(0))
	if !bytes.Equal(zero, weights(scu.DefaultControl(scu.LawUnapplied))) {
		t.Error("the published code as it is has other weights than lambda 0")
	}
	if bytes.Equal(zero, weights(fixed(3))) {
		t.Error("lambda 3 has the weights of lambda 0")
	}
}
