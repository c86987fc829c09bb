package control_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/control"
)

// The scu law, replayed on the reference runs' S, gives their lambda and
// integral to the last bits of float64.
func TestSCUFollowsTheReference(t *testing.T) {
	runs, _ := filepath.Glob("../testdata/goldens/*/run.json")
	if len(runs) < 7 {
		t.Fatalf("%d reference runs", len(runs))
	}
	for _, path := range runs {
		var run struct {
			Control map[string]float64
			Steps   []struct {
				CE, S, Lambda, Integral float64
				SHat                    float64 `json:"s_hat"`
				LambdaNext              float64 `json:"lambda_next"`
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &run); err != nil {
			t.Fatal(err)
		}
		k := run.Control
		c := control.New(scu.ControlConfig{Law: scu.LawSCU, TargetS: k["target_s"], Kp: k["kp"], Ki: k["ki"], Deadband: k["deadband"],
			LambdaInit: k["lambda_init"], LambdaMin: k["lambda_min"], LambdaMax: k["lambda_max"]})
		for i, s := range run.Steps {
			near(t, path, i, "lambda", c.Lambda, s.Lambda)
			c.Update(s.S)
			near(t, path, i, "s_hat", c.SHat, s.SHat)
			near(t, path, i, "integral", c.Integral, s.Integral)
			near(t, path, i, "lambda_next", c.Lambda, s.LambdaNext)
		}
	}
}

func near(t *testing.T, path string, step int, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-12*math.Max(1, math.Abs(want)) {
		t.Errorf("%s step %d: %s is %v, want %v", path, step, what, got, want)
	}
}

func TestMeasure(t *testing.T) {
	b := control.Measure(math.Ln2, 2*0.01*1000*math.Ln2, 0.1, 1000)
	if math.Abs(b.Data-1) > 1e-15 || math.Abs(b.Param-1) > 1e-15 || math.Abs(b.S-0.5) > 1e-15 {
		t.Errorf("one bit each gives %+v", b)
	}
	if z := control.Measure(0, 0, 0.1, 1000); z.S != 0 {
		t.Errorf("nothing gives S %v", z.S)
	}
}

// Within the deadband lambda rests and the integral leaks.
func TestDeadband(t *testing.T) {
	k := scu.DefaultConfig().Control
	c := control.New(k)
	c.Integral = 0.1
	c.Update(k.TargetS + 0.9*k.Deadband)
	if c.Lambda != k.LambdaInit || c.Integral != 0.1*0.995 {
		t.Errorf("lambda %v, integral %v", c.Lambda, c.Integral)
	}
}

// At a bound, an error that pushes further out doesn't wind the integral up.
func TestNoWindup(t *testing.T) {
	for _, law := range []string{scu.LawSCU, scu.LawLogPI} {
		k := scu.DefaultConfig().Control
		k.Law, k.LambdaInit = law, k.LambdaMax
		c := control.New(k)
		for range 1000 {
			c.Update(0.9)
		}
		if c.Lambda != k.LambdaMax || c.Integral > 0.2 || !c.AtBound() {
			t.Errorf("%s: lambda %v, integral %v", law, c.Lambda, c.Integral)
		}
	}
}

// log_pi brings a plant whose S falls with lambda, slowly, to the target without
// an error that stays. (scu swings around it, as its authors' does.)
func TestLogPIReachesTheTarget(t *testing.T) {
	cfg := scu.DefaultConfig()
	if err := cfg.Merge(map[string]any{"control": map[string]any{"law": scu.LawLogPI}}); err != nil {
		t.Fatal(err)
	}
	k := cfg.Control
	c, s := control.New(k), 0.05
	for range 5000 {
		c.Update(s)
		s += 0.05 * (0.04/c.Lambda - s)
	}
	if e := math.Abs(s/k.TargetS - 1); e > 0.02 {
		t.Errorf("S is %v, target %v", s, k.TargetS)
	}
}
