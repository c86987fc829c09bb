package cpu

import (
	"sync/atomic"
	"testing"
)

// Every item is worked on exactly once, by every mix of sizes, and no two pieces
// share a worker's scratch at the same time.
func TestPoolCoversEveryItemOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 5} {
		p := newPool(threads)
		busy := make([]atomic.Bool, threads)
		for round := range 200 {
			n, grain := round*7%101, 1+round%9
			seen := make([]atomic.Int32, n)
			mark := func(lo, hi int) {
				for i := lo; i < hi; i++ {
					seen[i].Add(1)
				}
			}
			p.run(n, grain, mark)
			p.runWorkers(n, grain, func(worker, lo, hi int) {
				if !busy[worker].CompareAndSwap(false, true) {
					t.Errorf("worker %d runs two pieces at once", worker)
				}
				mark(lo, hi)
				busy[worker].Store(false)
			})
			for i := range seen {
				if c := seen[i].Load(); c != 2 {
					t.Fatalf("threads %d n %d grain %d: item %d was worked on %d times, want 2", threads, n, grain, i, c)
				}
			}
		}
		p.close()
	}
}

func TestPoolAllocatesNothing(t *testing.T) {
	p := newPool(2)
	defer p.close()
	var sum atomic.Int64
	f := func(lo, hi int) { sum.Add(int64(hi - lo)) }
	if a := testing.AllocsPerRun(100, func() { p.run(64, 1, f) }); a > 0 {
		t.Errorf("run allocates %v times", a)
	}
}

func BenchmarkPoolRun(b *testing.B) {
	p := newPool(2)
	defer p.close()
	f := func(lo, hi int) {}
	for b.Loop() {
		p.run(2, 1, f)
	}
}
