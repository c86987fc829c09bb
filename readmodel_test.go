package scu_test

import (
	"testing"

	"github.com/shannon-control/scu"
)

// Only a job that made all its steps is at 100%.
func TestProgressOf(t *testing.T) {
	at := func(step int) *scu.Metrics { return &scu.Metrics{Step: step, Steps: 200} }
	ended := func(early string) *scu.Adapter {
		return &scu.Adapter{Metrics: scu.Summary{EndedEarly: early}}
	}
	for name, c := range map[string]struct {
		job    scu.Job
		newest *scu.Metrics
		want   scu.Progress
	}{
		"queued":                {scu.Job{Status: scu.Queued}, nil, scu.Progress{}},
		"before its first step": {scu.Job{Status: scu.Running, Steps: 200}, nil, scu.Progress{Steps: 200}},
		"halfway":               {scu.Job{Status: scu.Running, Steps: 200}, at(100), scu.Progress{Step: 100, Steps: 200, Percent: 50}},
		"saving its adapter":    {scu.Job{Status: scu.Running, Steps: 200}, at(200), scu.Progress{Step: 200, Steps: 200, Percent: 99.9}},
		"completed":             {scu.Job{Status: scu.Completed, Steps: 200, Adapter: ended("")}, at(200), scu.Progress{Step: 200, Steps: 200, Percent: 100}},
		"stopped":               {scu.Job{Status: scu.Completed, Steps: 200, Adapter: ended("after step 3 of 200")}, at(3), scu.Progress{Step: 3, Steps: 200, Percent: 1.5}},
		"failed":                {scu.Job{Status: scu.Failed, Steps: 200}, at(50), scu.Progress{Step: 50, Steps: 200, Percent: 25}},
	} {
		if got := scu.ProgressOf(c.job, c.newest); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
