package checkpoint_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shannon-control/scu/trainer/checkpoint"
)

// Whatever the steps and the checkpoints take, training spends 1% on them at most,
// at any time but for what a checkpoint costs more than was expected; and where they
// cost little, a crash loses 10 s and a step.
func TestPaceCostsBelowOnePercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ step, cost time.Duration }{
		{5 * time.Millisecond, time.Millisecond}, {100 * time.Millisecond, 50 * time.Millisecond},
		{time.Second, 500 * time.Millisecond}, {20 * time.Second, 5 * time.Second}, {time.Second, 0},
	} {
		start := time.Unix(1e9, 0)
		now, last := start, start
		p := checkpoint.NewPace(0, int(c.cost.Seconds()*1e8/12), start)
		made, spent := 0, time.Duration(0)
		for step := 1; now.Sub(start) < 24*time.Hour; step++ {
			now = now.Add(c.step)
			if c.cost < 100*time.Millisecond && now.Sub(last) > 10*time.Second+2*c.step+100*2*c.cost {
				t.Fatalf("%v: nothing saved for %v", c, now.Sub(last))
			}
			if !p.Due(step, now) {
				continue
			}
			cost := time.Duration(float64(c.cost) * (0.5 + r.Float64()))
			p.Made(now, now.Add(cost))
			now = now.Add(cost)
			last, made, spent = now, made+1, spent+cost
			if part := float64(spent) / float64(now.Sub(start)); part > 0.015 || part > 0.0101 && made > 100 {
				t.Fatalf("%v: %.3f%% of the time after %d checkpoints", c, 100*part, made)
			}
		}
		if made < 100 {
			t.Errorf("%v: only %d checkpoints", c, made)
		}
	}
}

func TestPaceBySteps(t *testing.T) {
	now := time.Now()
	p := checkpoint.NewPace(3, 1e9, now)
	for step := 1; step < 10; step++ {
		if got, want := p.Due(step, now), step%3 == 0; got != want {
			t.Errorf("after step %d: %v, want %v", step, got, want)
		}
	}
}
