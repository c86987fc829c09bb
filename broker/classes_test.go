package broker

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A GPU's trainer takes what its card holds, in turns of the sizes, with what an older
// version queued and what names its GPU; what is larger, or names another, waits.
func TestMemoryClasses(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	for _, class := range []string{"gpu-80", "gpu-24", "gpu-24", "gpu-24", "gpu-8", "gpu", "gpu-id-0", "gpu-id-1", "cpu"} {
		e := newJob(0)
		e.Job.Class = class
		if _, err := b.Submit(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	queued(t, b)
	q := openQueue(t, b, "t1", scu.ClassesOfGPU(24<<30, 1)...)
	var got []string
	for range 6 {
		got = append(got, next(t, q).job.Class)
	}
	if want := []string{"gpu-id-1", "gpu-24", "gpu-8", "gpu", "gpu-24", "gpu-24"}; !slices.Equal(got, want) {
		t.Errorf("jobs of the classes %v, want %v", got, want)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if c, err := q.Next(short); err == nil {
		t.Errorf("got a job of class %s", c.Job().Class)
	}
}
