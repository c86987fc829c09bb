package scu_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// The newest checkpoints stay, and the best; one of the same step takes the place of the
// old one. They are found by step and by name.
func TestStoreKeepsTheNewestAndTheBest(t *testing.T) {
	j := scu.Submission(scu.Job{}, time.Now()).Job
	e, err := j.Start("one", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	j = e.Job
	store := func(step int, loss float64, want ...int) {
		t.Helper()
		before := slices.Clone(j.Checkpoints)
		e, err := j.Store(1, scu.Checkpoint{Step: step, Attempt: 1, ValLoss: &loss}, 2, time.Now())
		if err != nil || !slices.Equal(before, j.Checkpoints) {
			t.Fatalf("%v; the entry before is now %v", err, j.Checkpoints)
		}
		j = e.Job
		var steps []int
		for _, c := range j.Checkpoints {
			steps = append(steps, c.Step)
		}
		if !slices.Equal(steps, want) {
			t.Errorf("after step %d there are %v, want %v", step, steps, want)
		}
	}
	store(10, 3, 10)
	store(20, 2, 10, 20)
	store(30, 2, 20, 30)     // of equal losses the earlier is the best
	store(40, 4, 20, 30, 40) // the best stays
	store(30, 1, 30, 40)     // trained again, by another device
	store(50, 4, 30, 40, 50)
	for which, want := range map[string]int{"last": 50, "best": 30, "40": 40} {
		if c, err := j.Checkpoint(which); err != nil || c.Step != want {
			t.Errorf("%s is %+v, %v", which, c, err)
		}
	}
	if c, ok := j.NewestCheckpoint(); !ok || c.Step != 50 {
		t.Errorf("the newest is %+v", c)
	}
	again, err := j.Store(1, scu.Checkpoint{Step: 35, Attempt: 2}, 9, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := again.Job.NewestCheckpoint(); !ok || c.Step != 35 { // of a later attempt
		t.Errorf("the newest is %+v", c)
	}
	if _, ok := (scu.Job{}).NewestCheckpoint(); ok {
		t.Error("a job without checkpoints has a newest one")
	}
	for _, which := range []string{"20", "", "first"} {
		if _, err := j.Checkpoint(which); scu.CodeOf(err) != scu.CodeNotFound || !strings.Contains(err.Error(), "30, 40, 50") {
			t.Errorf("%q: %v", which, err)
		}
	}
	if _, err := (scu.Job{}).Checkpoint("last"); scu.CodeOf(err) != scu.CodeNotFound {
		t.Error(err)
	}
}
