package scu_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shannon-control/scu"
)

// A job that is handed back for ever, or that fails with a long text, stays small
// enough for the log.
func TestJobsStaySmall(t *testing.T) {
	j := scu.Submission(scu.Job{Class: "cpu", Warnings: []string{"its own"}}, time.Now()).Job
	for i := range 1000 {
		e, err := j.Start("t1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		before := slices.Clone(e.Job.Warnings)
		back, err := e.Job.HandBack(e.Job.Attempt, time.Now(), fmt.Sprintf("port %d is closed", i))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(before, e.Job.Warnings) {
			t.Fatal("the entry before was changed")
		}
		j = back.Job
	}
	if n := len(j.Warnings); n > 50 || j.Warnings[0] != "its own" || j.Warnings[n-1] != "port 999 is closed" {
		t.Errorf("%d warnings: %q", n, j.Warnings)
	}
	e, err := j.Fail(0, scu.Errorf(scu.CodeInvalid, "%s", strings.Repeat("ü", 10_000)).At(strings.Repeat("x", 10_000)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if text := e.Job.Error.Error(); len(text) > 5000 || !utf8.ValidString(text) {
		t.Errorf("an error of %d bytes", len(text))
	}
}

// What is to be said of how a run ended comes before the job's other warnings, once.
func TestCompleteTellsHowItEnded(t *testing.T) {
	now := time.Now()
	j := scu.Submission(scu.Job{Warnings: []string{"odd"}}, now).Job
	e, err := j.Start("one", now)
	if err != nil {
		t.Fatal(err)
	}
	e, err = e.Job.Complete(1, scu.Adapter{Metrics: scu.Summary{Warnings: []string{"worse", "off"}}}, now)
	if want := []string{"worse", "off", "odd"}; err != nil || !slices.Equal(e.Job.Warnings, want) || !slices.Equal(j.Warnings, []string{"odd"}) {
		t.Errorf("warnings %q, %v; want %q", e.Job.Warnings, err, want)
	}
}
