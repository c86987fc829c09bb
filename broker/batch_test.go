package broker

import (
	"testing"

	"github.com/shannon-control/scu"
)

// A batch is in the log and the queue whole, or not at all: not if one id is taken.
func TestSubmitAll(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx := testContext(t)
	batch := func(n int) (all []scu.Event) {
		for range n {
			all = append(all, newJob(0))
		}
		return all
	}
	for _, n := range []int{1, 2, scu.MaxBatch} {
		if err := b.SubmitAll(ctx, batch(n)); err != nil {
			t.Fatalf("%d jobs: %v", n, err)
		}
	}
	taken, fresh := batch(3), batch(3)
	if err := b.SubmitAll(ctx, taken); err != nil {
		t.Fatal(err)
	}
	fresh[1] = taken[1]
	wantCode(t, b.SubmitAll(ctx, fresh), scu.CodeConflict)
	for _, i := range []int{0, 2} {
		if _, _, err := b.Job(ctx, fresh[i].Job.ID); scu.CodeOf(err) != scu.CodeNotFound {
			t.Fatalf("job %d of a refused batch is there: %v", i, err)
		}
	}
	wantCode(t, b.SubmitAll(ctx, batch(scu.MaxBatch+1)), scu.CodeInvalid)
	wantCode(t, b.SubmitAll(ctx, nil), scu.CodeInvalid)

	q := openQueue(t, b, "t1")
	seen := map[string]bool{}
	for range 1 + 2 + 3 {
		c := next(t, q)
		seen[c.id] = true
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 6 {
		t.Fatalf("%d jobs are handed out", len(seen))
	}
}
