package api

import (
	"context"
	"slices"

	"github.com/shannon-control/scu"
)

// thinned returns at most n of a job's steps, in order: its first and newest, and of each
// of so many equal stretches those where a curve has its least and greatest value. A peak of
// one step is never lost. atBound counts the steps, of all of them, that left lambda at a bound.
func (s *Server) thinned(ctx context.Context, id string, n int) (rows []scu.Metrics, atBound int, err error) {
	newest, err := s.o.Store.Latest(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return []scu.Metrics{}, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	t := newThinner(newest.Step, n)
	if err := s.o.Store.Curves(ctx, id, t.add); err != nil {
		return nil, 0, err
	}
	page := scu.StepPage{Limit: n}
	if !t.all {
		page.Only = t.steps()
	}
	rows, _, err = s.o.Store.Metrics(ctx, id, page)
	return rows, t.atBound, err
}

// curves are what is drawn over the steps: the loss of training and that of validation, S and
// lambda.
const curves = 4

// extreme is where a curve is least or greatest; step 0: it has no value yet.
type extreme struct {
	step  int
	value float64
}

// thinner keeps the extremes of each stretch of steps.
type thinner struct {
	all         bool // there are so few steps that all are kept
	width       int  // steps of a stretch
	stretch     int  // the one at hand
	least, most [curves]extreme
	last        int // the step added last
	atBound     int // steps added that left lambda at a bound
	out         []int
}

// newThinner makes one for so many steps, of which at most n are wanted; n is at least 10.
func newThinner(steps, n int) *thinner {
	stretches := (n - 2) / (2 * curves)
	return &thinner{all: steps <= n, width: max(1, (steps+stretches-1)/stretches)}
}

// add takes the next step.
func (t *thinner) add(p scu.CurvePoint) {
	if t.all || t.last == 0 {
		t.out = append(t.out, p.Step)
	}
	t.last = p.Step
	if p.LambdaHeld {
		t.atBound++
	}
	if t.all {
		return
	}
	if at := (p.Step - 1) / t.width; at != t.stretch {
		t.flush()
		t.stretch = at
	}
	t.see(0, p.Step, p.CE)
	if p.ValLoss != nil {
		t.see(1, p.Step, *p.ValLoss)
	}
	t.see(2, p.Step, p.S)
	t.see(3, p.Step, p.Lambda)
}

func (t *thinner) see(curve, step int, v float64) {
	if e := &t.least[curve]; e.step == 0 || v < e.value {
		*e = extreme{step, v}
	}
	if e := &t.most[curve]; e.step == 0 || v > e.value {
		*e = extreme{step, v}
	}
}

// flush ends a stretch.
func (t *thinner) flush() {
	var kept []int
	for _, e := range slices.Concat(t.least[:], t.most[:]) {
		if e.step > 0 {
			kept = append(kept, e.step)
		}
	}
	slices.Sort(kept)
	for _, step := range kept {
		t.keep(step)
	}
	clear(t.least[:])
	clear(t.most[:])
}

func (t *thinner) keep(step int) {
	if len(t.out) == 0 || step > t.out[len(t.out)-1] {
		t.out = append(t.out, step)
	}
}

// steps ends the last stretch and returns the steps that were kept.
func (t *thinner) steps() []int {
	if t.last > 0 {
		t.flush()
		t.keep(t.last)
	}
	return t.out
}
