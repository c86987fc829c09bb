package trainer

import (
	"fmt"

	"github.com/shannon-control/scu"
)

const (
	offTarget  = 1.5 // by more than this factor S counts as off its target
	boundSteps = 20  // after so many steps in a row at a bound lambda counts as stuck
)

// verdict is what a user must know of how a run ended, the worst first, and what to
// change. atBound is for how many steps in a row lambda has rested at a bound.
func verdict(c scu.ControlConfig, s scu.Summary, atBound int) (warnings []string) {
	add := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if before, after, last := s.ValLossBefore, s.ValLossAfter, s.ValLossLast; before != nil && after != nil && last != nil && *last > *before {
		kept := ""
		if s.KeptStep != s.Steps {
			kept = fmt.Sprintf("; the adapter has the weights of step %d, with %.4f", s.KeptStep, *after)
		}
		add("the run ended worse than it began: validation loss %.4f before, %.4f after step %d%s; lower learning_rate, or train fewer epochs or steps", *before, *last, s.Steps, kept)
	}
	advice := ""
	if atBound >= boundSteps {
		bound, field := c.LambdaMin, "lower control.lambda_min"
		if s.Lambda >= c.LambdaMax {
			bound, field = c.LambdaMax, "raise control.lambda_max"
		}
		advice = fmt.Sprintf("lambda rested at its bound %g for the last %d steps and no longer controlled S; %s", bound, atBound, field)
		if c.Law != scu.LawLogPI {
			advice += ", or use control.law " + scu.LawLogPI
		}
	}
	if !c.HoldsS() {
		return warnings
	}
	switch {
	case s.S > offTarget*c.TargetS:
		if advice == "" {
			advice = "the run was too short for its target: raise epochs or steps, or control.target_s"
		}
		add("S ended at %.4g, %.2g times its target %g; %s", s.S, s.S/c.TargetS, c.TargetS, advice)
	case s.S < c.TargetS/offTarget:
		if advice == "" {
			advice = "the adapter learned less than its target allows: raise epochs, steps or learning_rate, or lower control.target_s"
		}
		add("S ended at %.4g, %.2g of its target %g; %s", s.S, s.S/c.TargetS, c.TargetS, advice)
	case advice != "":
		add("%s", advice)
	}
	if ratio := s.KeptS / c.TargetS; s.KeptStep != s.Steps && (ratio > offTarget || ratio < 1/offTarget) {
		add("the adapter has the weights of step %d, whose S was %.4g, %.2g times its target %g; keep \"last\" takes those of step %d", s.KeptStep, s.KeptS, ratio, c.TargetS, s.Steps)
	}
	return warnings
}
