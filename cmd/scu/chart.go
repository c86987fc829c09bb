package main

import (
	"fmt"

	"github.com/guptarohit/asciigraph"

	"github.com/shannon-control/scu"
)

// Size of a chart, in characters.
const (
	chartWidth  = 64
	chartHeight = 7
)

// lossChart draws the loss of a job's steps on a scale from low to high, and says the
// first and the last validation loss.
func lossChart(steps []scu.Metrics, low, high float64) string {
	ce := make([]float64, len(steps))
	var before, after *float64
	for i, m := range steps {
		ce[i] = m.CE
		if m.ValLoss != nil {
			if after = m.ValLoss; before == nil {
				before = m.ValLoss
			}
		}
	}
	caption := fmt.Sprintf("loss (CE, nats a token) over %d steps", len(steps))
	if before != nil {
		caption += fmt.Sprintf("; validation %.4f to %.4f", *before, *after)
	}
	return asciigraph.Plot(ce, asciigraph.Width(chartWidth), asciigraph.Height(chartHeight), asciigraph.Precision(3),
		asciigraph.LowerBound(low), asciigraph.UpperBound(high), asciigraph.Caption(caption))
}

// chart draws S, with its target, and lambda over a job's steps.
func chart(steps []scu.Metrics, target float64) string {
	if len(steps) < 2 {
		return ""
	}
	s, lambda, goal := make([]float64, len(steps)), make([]float64, len(steps)), make([]float64, len(steps))
	for i, m := range steps {
		s[i], lambda[i], goal[i] = m.S, m.LambdaNext, target
	}
	atBound := ""
	if last := steps[len(steps)-1]; last.LambdaMin != nil && last.LambdaMax != nil {
		atBound = fmt.Sprintf(" (at a bound: %g to %g)", *last.LambdaMin, *last.LambdaMax)
	}
	size := []asciigraph.Option{asciigraph.Width(chartWidth), asciigraph.Height(chartHeight)}
	caption := func(format string, args ...any) asciigraph.Option {
		return asciigraph.Caption(fmt.Sprintf(format, args...))
	}
	return asciigraph.PlotMany([][]float64{goal, s}, append(size, asciigraph.Precision(3), asciigraph.LowerBound(0),
		caption("S, the adapter's share of the information; target %g", target))...) + "\n\n" +
		asciigraph.Plot(lambda, append(size, asciigraph.Precision(2),
			caption("lambda%s, the regularisation strength, over %d steps", atBound, len(steps)))...)
}
