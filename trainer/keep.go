package trainer

import (
	"fmt"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/checkpoint"
)

// judge notes the weights after a validated step, if they are the best so far. Of equal
// losses the earlier counts.
func (r *run) judge(m scu.Metrics) (err error) {
	if m.ValLoss == nil {
		return nil
	}
	if r.best != nil && *m.ValLoss >= r.best.ValLoss {
		r.stale++
		return nil
	}
	r.best, r.stale = &checkpoint.Best{Step: m.Step, ValLoss: *m.ValLoss, S: m.S}, 0
	if r.job.Config.Keep == scu.KeepBest {
		r.best.Param, err = r.session.Params()
	}
	return err
}

// enough returns why the run ends after so many steps, though more were planned; "" if
// it goes on.
func (r *run) enough(done int) string {
	if r.ending && done < r.steps {
		return fmt.Sprintf("after step %d of %d: it was asked to stop", done, r.steps)
	}
	if patience := r.job.Config.EarlyStoppingPatience; patience > 0 && r.stale >= patience && done < r.steps {
		return fmt.Sprintf("after step %d of %d: %s in a row brought no lower loss than %.4f at step %d", done, r.steps, scu.Counted(r.stale, "validation"), r.best.ValLoss, r.best.Step)
	}
	return ""
}

// stopped reports whether a user wants the run to end now.
func (r *run) stopped() bool {
	if r.job.Stopping { // asked of an attempt before
		return true
	}
	select {
	case <-r.stopping:
		return true
	default:
		return false
	}
}

// kept returns the weights that become the adapter, and after which step and with which
// S they are.
func (r *run) kept() (param []float32, step int, s float64, err error) {
	if r.best != nil && r.best.Param != nil {
		return r.best.Param, r.best.Step, r.best.S, nil
	}
	param, err = r.session.Params()
	return param, r.last.Step, r.last.S, err
}
