package api

import (
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// A thinned run has no more steps than were asked for, its ends, and every peak; its steps
// at a bound are counted before.
func TestThinning(t *testing.T) {
	const steps = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	run := make([]scu.CurvePoint, steps)
	for i := range run {
		run[i] = scu.CurvePoint{Step: i + 1, CE: random.Float64(), S: random.Float64(), Lambda: random.Float64()}
		if i%7 == 0 {
			v := random.Float64()
			run[i].ValLoss = &v
		}
		if i >= 100 && i < 3100 {
			run[i].LambdaHeld = true
		}
	}
	run[4321].CE, run[5000].S, run[77].Lambda, *run[700].ValLoss = 9, 9, 9, 9
	for _, n := range []int{10, 11, 100, 2000, steps, 2 * steps} {
		thin := newThinner(steps, n)
		for i := range run {
			thin.add(run[i])
		}
		var kept []int
		for _, p := range thin.points() {
			kept = append(kept, p.Step)
		}
		if thin.atBound != 3000 {
			t.Errorf("resolution %d: %d steps at a bound of 3,000", n, thin.atBound)
		}
		if len(kept) > n || len(kept) < min(n, steps)/8 {
			t.Errorf("of %d steps %d were asked for and %d came", steps, n, len(kept))
		}
		if kept[0] != 1 || kept[len(kept)-1] != steps {
			t.Errorf("resolution %d: from step %d to %d", n, kept[0], kept[len(kept)-1])
		}
		if !slices.IsSorted(kept) {
			t.Errorf("resolution %d: not in order", n)
		}
		for _, step := range []int{4322, 5001, 78, 701} {
			if !slices.Contains(kept, step) {
				t.Errorf("resolution %d lost the peak at step %d", n, step)
			}
		}
	}
}

// Over HTTP; a job without a step has none.
func TestThinnedMetrics(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	page, err := r.sdk.ThinnedMetrics(t.Context(), id, 10)
	must(t, err)
	if len(page.Metrics) != 0 || page.Next != 0 {
		t.Errorf("before the first step: %+v", page)
	}
	none, err := r.sdk.Curves(t.Context(), id, 10)
	must(t, err)
	if none.Step == nil || len(none.Step) != 0 || none.Last != nil {
		t.Errorf("before the first step: %+v", none)
	}
	j := r.begin(id, 40)
	for i := range 40 {
		r.step(j, i)
	}
	r.complete(j, []byte("zip"))
	_, err = r.sdk.Counts(t.Context())
	must(t, err)
	var csv countingWriter
	must(t, r.sdk.MetricsCSV(t.Context(), id, &csv)) // waits until all steps are there
	page, err = r.sdk.ThinnedMetrics(t.Context(), id, 10)
	must(t, err)
	if n := len(page.Metrics); n < 2 || n > 10 || page.Next != 40 || page.HasMore {
		t.Errorf("%d steps, next %d, more %v", n, page.Next, page.HasMore)
	}
	for _, n := range []int{10, 0} { // fewer than there are, all
		page, err := r.sdk.ThinnedMetrics(t.Context(), id, cmp.Or(n, 1200))
		must(t, err)
		c, err := r.sdk.Curves(t.Context(), id, n)
		must(t, err)
		if c.Last == nil || !reflect.DeepEqual(*c.Last, page.Metrics[len(page.Metrics)-1]) {
			t.Errorf("the last is %+v", c.Last)
		}
		var want client.Curves
		for _, m := range page.Metrics {
			want.Step = append(want.Step, m.Step)
			want.CE, want.ValLoss = append(want.CE, m.CE), append(want.ValLoss, m.ValLoss)
			want.S, want.SHat = append(want.S, m.S), append(want.SHat, m.SHat)
			want.Lambda, want.LambdaNext = append(want.Lambda, m.Lambda), append(want.LambdaNext, m.LambdaNext)
			want.AtBound = append(want.AtBound, m.LambdaMin != nil || m.LambdaMax != nil)
		}
		want.StepsAtBound, want.Last = page.AtBound, c.Last
		if !reflect.DeepEqual(c, want) {
			t.Errorf("curves %+v, want %+v", c, want)
		}
	}
}

// A job that begins anew has no more steps than were asked for, though those of the attempt before
// go further, and the last of them.
func TestThinnedStepsOfTwoAttempts(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	j := r.begin(id, 40)
	for i := range 40 {
		r.step(j, i)
	}
	j = r.begin(id, 40)
	for i := range 5 {
		r.step(j, i)
	}
	c, err := r.sdk.Curves(t.Context(), id, 10)
	must(t, err)
	page, err := r.sdk.ThinnedMetrics(t.Context(), id, 10)
	must(t, err)
	if len(c.Step) > 10 || c.Step[0] != 1 || c.Step[len(c.Step)-1] != 40 || page.Next != 40 {
		t.Errorf("steps %v, the last of the rows %d", c.Step, page.Next)
	}
}

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

// A job's history has each change of its state with its time, and a second attempt.
func TestHistory(t *testing.T) {
	r := start(t, nil)
	id := r.submit(func(q *client.SubmitRequest) { q.Name = "poems" })
	j := r.begin(id, 3)
	j = r.begin(j.ID, 3)
	r.complete(j, []byte("zip"))
	h, err := r.sdk.History(t.Context(), id)
	must(t, err)
	var types []scu.EventType
	for _, e := range h.Entries {
		types = append(types, e.Type)
		if e.Time.IsZero() {
			t.Errorf("%s has no time", e.Type)
		}
	}
	if want := []scu.EventType{scu.EventSubmitted, scu.EventStarted, scu.EventPhase, scu.EventStarted, scu.EventPhase, scu.EventCompleted}; !slices.Equal(types, want) {
		t.Errorf("%v, want %v", types, want)
	}
	if last := h.Entries[len(h.Entries)-1]; last.Attempt != 2 || last.Status != scu.Completed || last.Trainer != trainer {
		t.Errorf("%+v", last)
	}
	n, err := r.sdk.Counts(t.Context())
	must(t, err)
	if n[scu.Completed] != 1 || n[scu.Queued] != 0 || len(n) != len(scu.Statuses) {
		t.Errorf("counts: %v", n)
	}
}
