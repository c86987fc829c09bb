package main

import (
	"strings"
	"testing"
)

// The part that is used most is told first, and whether all of it fits.
func TestPrint(t *testing.T) {
	small := load{trainers: 10, jobs: 1000, steps: 100, seconds: 60, days: 7, classes: 1, levels: 1, owners: 1, replicas: 1, peak: 1}
	for _, c := range []struct {
		change func(*load)
		says   string
	}{
		{func(*load) {}, "It fits. The first wall is trainers' time"},
		{func(l *load) { l.jobs *= 100 }, "It doesn't fit: trainers' time is the first wall, at 6.9 times"},
		{func(l *load) { l.trainers, l.steps, l.seconds = 1000, 1e6, 1 }, "the first wall is read model: steps"},
		{func(l *load) { l.trainers, l.jobs, l.seconds, l.steps = 5000, 1e8, 1, 1 }, "queue: claims is the first wall, at 1.2 times"},
		{func(l *load) { l.trainers, l.classes, l.levels, l.owners = 1000, 4, 3, 1000 }, "queue: consumers is the first wall, at 1.2 times"},
	} {
		l := small
		c.change(&l)
		var out strings.Builder
		l.print(&out)
		if !strings.Contains(strings.ToLower(out.String()), strings.ToLower(c.says)) {
			t.Errorf("%+v says\n%s\nwant %s", l, out.String(), c.says)
		}
	}
}
