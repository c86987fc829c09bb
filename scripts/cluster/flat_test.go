//go:build unix

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is one measurement of something that isn't to grow.
type sample struct {
	at    time.Duration // since the beginning
	value float64
}

// slope is the growth a second by Theil and Sen: the median of the slopes between any two
// samples, which single peaks don't move.
func slope(s []sample) float64 {
	var all []float64
	for i, a := range s {
		for _, b := range s[i+1:] {
			all = append(all, (b.value-a.value)/(b.at-a.at).Seconds())
		}
	}
	return median(all)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// fewest samples that say anything of a slope.
const fewest = 8

// series are all samples of one thing, and what it may grow by.
type series struct {
	name    string
	unit    string
	most    float64 // growth over the whole that counts as none, beside a tenth of what there is
	samples []sample
}

// settled leaves the first quarter out: caches fill then, and pools.
func (s series) settled() []sample { return s.samples[len(s.samples)/4:] }

// growth is what the slope makes over the time that was looked at.
func (s series) growth() float64 {
	rest := s.settled()
	if len(rest) < fewest {
		return 0
	}
	return slope(rest) * (rest[len(rest)-1].at - rest[0].at).Seconds()
}

func (s series) allowed() float64 {
	var values []float64
	for _, x := range s.settled() {
		values = append(values, x.value)
	}
	return s.most + median(values)/10
}

func (s series) flat() bool { return s.growth() <= s.allowed() }

// report is a table of all series; wrong are those that grow.
func report(all []series) (table string, wrong []string) {
	slices.SortFunc(all, func(a, b series) int { return cmp.Compare(a.name, b.name) })
	var out strings.Builder
	fmt.Fprintf(&out, "%-42s %8s %12s %12s %12s %12s  %s\n", "", "samples", "first", "median", "last", "growth", "allowed")
	for _, s := range all {
		if len(s.settled()) < fewest {
			continue
		}
		var values []float64
		for _, x := range s.settled() {
			values = append(values, x.value)
		}
		line := fmt.Sprintf("%-42s %8d %12.6g %12.6g %12.6g %12.4g  %.4g %s", s.name, len(s.samples), s.samples[0].value, median(values), values[len(values)-1], s.growth(), s.allowed(), s.unit)
		if !s.flat() {
			line += "  GROWS"
			wrong = append(wrong, fmt.Sprintf("%s grows by %.4g %s, more than %.4g", s.name, s.growth(), s.unit, s.allowed()))
		}
		fmt.Fprintln(&out, line)
	}
	return out.String(), wrong
}

// What grows is told from what only moves.
func TestFlat(t *testing.T) {
	for name, c := range map[string]struct {
		at   func(n int) float64
		flat bool
	}{
		"level":                  {func(int) float64 { return 100 }, true},
		"up and down":            {func(n int) float64 { return 100 + float64(n%7)*10 }, true},
		"filling at first":       {func(n int) float64 { return min(100, float64(n)*5) }, true},
		"peaks":                  {func(n int) float64 { return 100 + float64(n/90)*1000 }, true},
		"less and less":          {func(n int) float64 { return 1000 - float64(n) }, true},
		"a leak":                 {func(n int) float64 { return 100 + float64(n) }, false},
		"a leak, up and down":    {func(n int) float64 { return 100 + float64(n) + float64(n%5)*30 }, false},
		"a leak after a while":   {func(n int) float64 { return 100 + float64(max(0, n-50))*2 }, false},
		"a leak in rare strides": {func(n int) float64 { return 100 + float64(n/20)*20 }, false},
	} {
		s := series{most: 10}
		for n := range 100 {
			s.samples = append(s.samples, sample{time.Duration(n) * 10 * time.Second, c.at(n)})
		}
		if s.flat() != c.flat {
			t.Errorf("%s: growth %.3g of %.3g allowed", name, s.growth(), s.allowed())
		}
	}
}
