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
	if before, after := s.ValLossBefore, s.ValLossAfter; before != nil && after != nil && *after > *before {
		add("the run ended worse than it began: validation loss %.4f before, %.4f after; lower learning_rate, or train fewer epochs or steps", *before, *after)
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
	return warnings
}
