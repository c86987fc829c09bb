package api

import (
	"context"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// thinned returns at most n of a job's steps, in order: its first and newest, and of each
// of so many equal stretches those where a curve has its least and greatest value. A peak of
// one step is never lost. atBound counts the steps, of all of them, that left lambda at a bound.
// newest is what the newest step was; a job without steps has none of all this.
func (s *Server) thinned(ctx context.Context, id string, n int) (points []scu.CurvePoint, atBound int, newest scu.Metrics, err error) {
	newest, err = s.o.Store.Latest(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return nil, 0, newest, nil
	}
	if err != nil {
		return nil, 0, newest, err
	}
	t := newThinner(newest.Step, n)
	if err := s.o.Store.Curves(ctx, id, t.add); err != nil {
		return nil, 0, newest, err
	}
	points = t.points()
	if len(points) > n { // an attempt before the newest came further
		again := newThinner(t.last.Step, n)
		for _, p := range points {
			again.add(p)
		}
		points = again.points()
	}
	return points, t.atBound, newest, nil
}

// thinnedRows are the same steps with all their figures.
func (s *Server) thinnedRows(ctx context.Context, id string, n int) (rows []scu.Metrics, atBound int, err error) {
	points, atBound, _, err := s.thinned(ctx, id, n)
	if err != nil || len(points) == 0 {
		return nil, 0, err
	}
	page := scu.StepPage{Limit: n}
	for _, p := range points {
		page.Only = append(page.Only, p.Step)
	}
	rows, _, err = s.o.Store.Metrics(ctx, id, page)
	return rows, atBound, err
}

type curvesInput struct {
	ID         string `path:"id" doc:"The job's id"`
	Resolution int    `query:"resolution" minimum:"10" maximum:"10000" default:"1200" doc:"At most so many of all steps"`
}

// curves is what a chart of a job needs: a column for each curve.
func (s *Server) curves(ctx context.Context, in *curvesInput) (*reply[client.Curves], error) {
	if _, _, err := s.find(ctx, in.ID); err != nil {
		return nil, err
	}
	if err := s.stepsCaughtUp(ctx); err != nil {
		return nil, err
	}
	points, atBound, newest, err := s.thinned(ctx, in.ID, in.Resolution)
	if err != nil {
		return nil, err
	}
	c := columns(points)
	c.StepsAtBound = atBound
	switch n := len(points); {
	case n == 0:
	case points[n-1].Step == newest.Step:
		c.Last = &newest
	default: // an attempt before the newest came further
		last, _, err := s.o.Store.Metrics(ctx, in.ID, scu.StepPage{Only: []int{points[n-1].Step}})
		if err != nil {
			return nil, err
		}
		if len(last) == 1 {
			c.Last = &last[0]
		}
	}
	return answer(c), nil
}

// columns are the columns of points.
func columns(points []scu.CurvePoint) client.Curves {
	n := len(points)
	c := client.Curves{
		Step: make([]int, n), CE: make([]float64, n), ValLoss: make([]*float64, n), S: make([]float64, n), SHat: make([]float64, n),
		Lambda: make([]float64, n), LambdaNext: make([]float64, n), AtBound: make([]bool, n),
	}
	for i, p := range points {
		c.Step[i], c.CE[i], c.ValLoss[i], c.S[i], c.SHat[i] = p.Step, p.CE, p.ValLoss, p.S, p.SHat
		c.Lambda[i], c.LambdaNext[i], c.AtBound[i] = p.Lambda, p.LambdaNext, p.LambdaHeld
	}
	return c
}

// curves are those whose peaks are kept: the loss of training and that of validation, S and
// lambda.
const curves = 4

// extreme is where a curve is least or greatest; step 0: it has no value yet.
type extreme struct {
	at    scu.CurvePoint
	value float64
}

// thinner keeps the extremes of each stretch of steps.
type thinner struct {
	all         bool // there are so few steps that all are kept
	width       int  // steps of a stretch
	stretch     int  // the one at hand
	least, most [curves]extreme
	last        scu.CurvePoint // the step added last
	atBound     int            // steps added that left lambda at a bound
	out         []scu.CurvePoint
}

// newThinner makes one for so many steps, of which at most n are wanted; n is at least 10.
func newThinner(steps, n int) *thinner {
	stretches := (n - 2) / (2 * curves)
	return &thinner{all: steps <= n, width: max(1, (steps+stretches-1)/stretches)}
}

// add takes the next step.
func (t *thinner) add(p scu.CurvePoint) {
	if t.all || t.last.Step == 0 {
		t.out = append(t.out, p)
	}
	t.last = p
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
	t.see(0, &p, p.CE)
	if p.ValLoss != nil {
		t.see(1, &p, *p.ValLoss)
	}
	t.see(2, &p, p.S)
	t.see(3, &p, p.Lambda)
}

func (t *thinner) see(curve int, p *scu.CurvePoint, v float64) {
	if e := &t.least[curve]; e.at.Step == 0 || v < e.value {
		*e = extreme{*p, v}
	}
	if e := &t.most[curve]; e.at.Step == 0 || v > e.value {
		*e = extreme{*p, v}
	}
}

// flush ends a stretch.
func (t *thinner) flush() {
	var kept []scu.CurvePoint
	for _, e := range slices.Concat(t.least[:], t.most[:]) {
		if e.at.Step > 0 {
			kept = append(kept, e.at)
		}
	}
	slices.SortFunc(kept, func(a, b scu.CurvePoint) int { return a.Step - b.Step })
	for _, p := range kept {
		t.keep(p)
	}
	clear(t.least[:])
	clear(t.most[:])
}

func (t *thinner) keep(p scu.CurvePoint) {
	if len(t.out) == 0 || p.Step > t.out[len(t.out)-1].Step {
		t.out = append(t.out, p)
	}
}

// points ends the last stretch and returns the steps that were kept.
func (t *thinner) points() []scu.CurvePoint {
	if t.last.Step > 0 {
		t.flush()
		t.keep(t.last)
	}
	return t.out
}
