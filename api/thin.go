package api

import (
	"cmp"
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
	page := scu.StepPage{Limit: scu.MaxSteps}
	for more := true; more; {
		if rows, more, err = s.o.Store.Metrics(ctx, id, page); err != nil {
			return nil, 0, err
		}
		for i := range rows {
			t.add(&rows[i])
		}
		if len(rows) == 0 {
			break
		}
		page.AfterStep = rows[len(rows)-1].Step
	}
	return t.rows(), t.atBound, nil
}

// curves are what is drawn over the steps. A step without a value has nil.
var curves = []func(*scu.Metrics) *float64{
	func(m *scu.Metrics) *float64 { return &m.CE },
	func(m *scu.Metrics) *float64 { return m.ValLoss },
	func(m *scu.Metrics) *float64 { return &m.S },
	func(m *scu.Metrics) *float64 { return &m.Lambda },
}

// thinner keeps the extremes of each stretch of steps.
type thinner struct {
	all     bool // there are so few steps that all are kept
	width   int  // steps of a stretch
	stretch int  // the one at hand
	least   []*scu.Metrics
	most    []*scu.Metrics
	last    *scu.Metrics
	atBound int // steps added that left lambda at a bound
	out     []scu.Metrics
}

// newThinner makes one for so many steps, of which at most n are wanted; n is at least 10.
func newThinner(steps, n int) *thinner {
	stretches := (n - 2) / (2 * len(curves))
	return &thinner{
		all: steps <= n, width: max(1, (steps+stretches-1)/stretches),
		least: make([]*scu.Metrics, len(curves)), most: make([]*scu.Metrics, len(curves)),
	}
}

// add takes the next step.
func (t *thinner) add(m *scu.Metrics) {
	if t.all || t.last == nil {
		t.out = append(t.out, *m)
	}
	t.last = m
	if m.LambdaMin != nil || m.LambdaMax != nil {
		t.atBound++
	}
	if t.all {
		return
	}
	if at := (m.Step - 1) / t.width; at != t.stretch {
		t.flush()
		t.stretch = at
	}
	for i, value := range curves {
		v := value(m)
		if v == nil {
			continue
		}
		if t.least[i] == nil || *v < *value(t.least[i]) {
			t.least[i] = m
		}
		if t.most[i] == nil || *v > *value(t.most[i]) {
			t.most[i] = m
		}
	}
}

// flush ends a stretch.
func (t *thinner) flush() {
	kept := slices.DeleteFunc(slices.Concat(t.least, t.most), func(m *scu.Metrics) bool { return m == nil })
	slices.SortFunc(kept, func(a, b *scu.Metrics) int { return cmp.Compare(a.Step, b.Step) })
	for _, m := range kept {
		t.keep(m)
	}
	clear(t.least)
	clear(t.most)
}

func (t *thinner) keep(m *scu.Metrics) {
	if len(t.out) == 0 || m.Step > t.out[len(t.out)-1].Step {
		t.out = append(t.out, *m)
	}
}

// rows ends the last stretch and returns what was kept, never nil.
func (t *thinner) rows() []scu.Metrics {
	if t.last == nil {
		return []scu.Metrics{}
	}
	t.flush()
	t.keep(t.last)
	return t.out
}
