package trainer

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// How a run ended is told with numbers and with what to change, the worst first.
func TestVerdict(t *testing.T) {
	val := func(x float64) *float64 { return &x }
	logPI, published := scu.DefaultControl(scu.LawLogPI), scu.DefaultControl(scu.LawSCU)
	for _, c := range []struct {
		name    string
		control scu.ControlConfig
		sum     scu.Summary
		atBound int
		want    []string
	}{
		{"on target", logPI, scu.Summary{S: 0.0149, Lambda: 3}, 0, nil},
		{"just below", logPI, scu.Summary{S: 0.0067, Lambda: 3}, 0, nil},
		{"too short", logPI, scu.Summary{S: 0.212, Lambda: 3}, 0, []string{"S ended at 0.212, 21 times its target 0.01; the run was too short for its target: raise epochs or steps, or control.target_s"}},
		{"learned little", logPI, scu.Summary{S: 0.002, Lambda: 3}, 0, []string{"S ended at 0.002, 0.2 of its target 0.01; the adapter learned less than its target allows: raise epochs, steps or learning_rate, or lower control.target_s"}},
		{"upper bound", published, scu.Summary{S: 0.163, Lambda: 10}, 412, []string{"S ended at 0.163, 16 times its target 0.01; lambda rested at its bound 10 for the last 412 steps and no longer controlled S; raise control.lambda_max, or use control.law log_pi"}},
		{"lower bound", logPI, scu.Summary{S: 0.001, Lambda: 1e-6}, 30, []string{"S ended at 0.001, 0.1 of its target 0.01; lambda rested at its bound 1e-06 for the last 30 steps and no longer controlled S; lower control.lambda_min"}},
		{"at a bound, on target", logPI, scu.Summary{S: 0.01, Lambda: 1e4}, 20, []string{"lambda rested at its bound 10000 for the last 20 steps and no longer controlled S; raise control.lambda_max"}},
		{"worse, and off", logPI, scu.Summary{S: 0.1, Lambda: 3, ValLossBefore: val(5.12), ValLossAfter: val(7.78), ValLossLast: val(7.78), Steps: 9, KeptStep: 9}, 0, []string{"the run ended worse than it began: validation loss 5.1200 before, 7.7800 after step 9; lower learning_rate", "S ended at 0.1, 10 times"}},
		{"better on the way", logPI, scu.Summary{S: 0.01, Lambda: 3, KeptS: 0.05, ValLossBefore: val(5.12), ValLossAfter: val(4.5), ValLossLast: val(7.78), Steps: 9, KeptStep: 4}, 0, []string{
			"the run ended worse than it began: validation loss 5.1200 before, 7.7800 after step 9; the adapter has the weights of step 4, with 4.5000; lower",
			`the adapter has the weights of step 4, whose S was 0.05, 5 times its target 0.01; keep "last" takes those of step 9`}},
	} {
		c.sum.TargetS = c.control.TargetS
		got := verdict(c.control, c.sum, c.atBound)
		if len(got) != len(c.want) {
			t.Errorf("%s: %q", c.name, got)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", c.name, got[i], c.want[i])
			}
		}
	}
}
