package control_test

import (
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/control"
)

// controlSettings are a reference run's; runs that name no law were made under scu.
type controlSettings struct {
	Law        string
	TargetS    float64 `json:"target_s"`
	Kp, Ki     float64
	Deadband   float64
	LambdaInit float64 `json:"lambda_init"`
	LambdaMin  float64 `json:"lambda_min"`
	LambdaMax  float64 `json:"lambda_max"`
}

// Each law, replayed on the reference runs' S, gives their lambda and integral to
// the last bits of float64.
func TestTheReferenceRuns(t *testing.T) {
	runs, _ := filepath.Glob("../testdata/goldens/*/run.json")
	if len(runs) < 7 {
		t.Fatalf("%d reference runs", len(runs))
	}
	for _, path := range runs {
		var run struct {
			Control controlSettings
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
		c := control.New(scu.ControlConfig{Law: cmp.Or(k.Law, scu.LawSCU), TargetS: k.TargetS, Kp: k.Kp, Ki: k.Ki, Deadband: k.Deadband,
			LambdaInit: k.LambdaInit, LambdaMin: k.LambdaMin, LambdaMax: k.LambdaMax})
		for i, s := range run.Steps {
			near(t, path, i, "lambda", c.Lambda, s.Lambda)
			c.Update(s.S)
			near(t, path, i, "s_hat", c.SHat, s.SHat)
			near(t, path, i, "integral", c.Integral, s.Integral)
			near(t, path, i, "lambda_next", c.Lambda, s.LambdaNext)
		}
	}
}

// log_pi gives lambda and integral of an independent implementation, through the
// clamp, both bounds and the way back from them.
func TestLogPIFollowsTheReference(t *testing.T) {
	var runs []struct {
		Name    string
		Control struct{ Target, Kp, Ki, Init, Low, High float64 }
		Steps   []struct {
			S, Integral float64
			SHat        float64 `json:"s_hat"`
			LambdaNext  float64 `json:"lambda_next"`
		}
	}
	b, err := os.ReadFile("testdata/log_pi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &runs); err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		k := run.Control
		c := control.New(scu.ControlConfig{Law: scu.LawLogPI, TargetS: k.Target, Kp: k.Kp, Ki: k.Ki, LambdaInit: k.Init, LambdaMin: k.Low, LambdaMax: k.High})
		for i, s := range run.Steps {
			c.Update(s.S)
			near(t, run.Name, i, "s_hat", c.SHat, s.SHat)
			near(t, run.Name, i, "integral", c.Integral, s.Integral)
			near(t, run.Name, i, "lambda_next", c.Lambda, s.LambdaNext)
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
	k := scu.DefaultControl(scu.LawSCU)
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
		k := scu.DefaultControl(law)
		k.LambdaInit = k.LambdaMax
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
	k := scu.DefaultConfig().Control
	c, s := control.New(k), 0.05
	for range 5000 {
		c.Update(s)
		s += 0.05 * (0.04/c.Lambda - s)
	}
	if e := math.Abs(s/k.TargetS - 1); e > 0.02 {
		t.Errorf("S is %v, target %v", s, k.TargetS)
	}
}
