package optim

import "testing"

// The scale doubles after 2,000 steps in a row without an overflow, up to a bound, and is
// halved by each overflow, down to 1.
func TestLossScale(t *testing.T) {
	l := NewLossScale()
	for range lossScaleGrowth - 1 {
		l.Grow()
	}
	if l.Factor != firstLossScale || !l.Halve() || l.Factor != firstLossScale/2 || l.Steps != 0 {
		t.Errorf("after an overflow at step %d the scale is %+v", lossScaleGrowth, l)
	}
	for range lossScaleGrowth {
		l.Grow()
	}
	if l.Factor != firstLossScale || l.Steps != 0 {
		t.Errorf("after %d good steps it is %+v", lossScaleGrowth, l)
	}
	for range 20 * lossScaleGrowth {
		l.Grow()
	}
	if l.Factor != mostLossScale {
		t.Errorf("it grows to %v", l.Factor)
	}
	for l.Halve() {
	}
	if l.Factor != 1 {
		t.Errorf("it falls to %v", l.Factor)
	}
}
