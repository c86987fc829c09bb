package cpu

// The worker threads that every operation shares. The promises:
//
//   - run and runWorkers return when all of [0, n) has been worked on.
//   - Pieces are claimed as workers get free, so which worker does which piece
//     varies from run to run: results may depend on neither.
//   - A pool serves one caller at a time, and a piece must not call the pool.
//   - Starting work allocates nothing and waits for no sleeping worker: what a
//     late worker does not claim, the caller does itself.

import "sync/atomic"

// spinRounds is how long an idle worker looks for more work before it sleeps:
// some 20 microseconds, longer than the gap between two operations of a step and
// far shorter than the gap between two steps' host work.
const spinRounds = 10000

// Bits of pool.state: the number of workers inside the job, whether more may
// enter, whether the caller sleeps until the last one leaves, and above them the
// number of jobs so far.
const (
	stateOpen    = 1 << 16
	stateWaiting = 1 << 17
	stateJob     = 1 << 18
	stateIn      = stateOpen - 1
)

type pool struct {
	threads int // the caller included
	state   atomic.Uint64
	closed  atomic.Bool
	sleeper []sleeper

	// The job, written by the caller while no worker is inside.
	n, grain int
	f        func(lo, hi int)
	fw       func(worker, lo, hi int)
	next     atomic.Int64
	left     chan struct{} // the last worker has left while the caller slept

	gemms gemms // what matrix products keep, see gemm.go
}

// sleeper is where one worker waits when there is nothing to do.
type sleeper struct {
	asleep atomic.Bool
	wake   chan struct{}
	_      [48]byte // a cache line each
}

// newPool starts threads-1 workers; the caller of run is the last one.
func newPool(threads int) *pool {
	p := &pool{threads: threads, sleeper: make([]sleeper, threads-1), left: make(chan struct{}, 1)}
	for i := range p.sleeper {
		p.sleeper[i].wake = make(chan struct{}, 1)
		go p.worker(i)
	}
	return p
}

// close ends the workers.
func (p *pool) close() {
	p.closed.Store(true)
	p.wakeAll()
}

// run calls f for pieces of at most grain (1 or more) items that make
// up [0, n); every piece but the last has exactly grain.
func (p *pool) run(n, grain int, f func(lo, hi int)) {
	if p.threads == 1 || n <= grain {
		for lo := 0; lo < n; lo += grain {
			f(lo, min(lo+grain, n))
		}
		return
	}
	p.f = f
	p.work(n, grain)
	p.f = nil
}

// runWorkers is run for pieces that need scratch memory: worker is in
// [0, threads) and no two pieces run with the same one at the same time.
func (p *pool) runWorkers(n, grain int, f func(worker, lo, hi int)) {
	if p.threads == 1 || n <= grain {
		for lo := 0; lo < n; lo += grain {
			f(0, lo, min(lo+grain, n))
		}
		return
	}
	p.fw = f
	p.work(n, grain)
	p.fw = nil
}

// work opens the job to the workers, takes part, and waits for those inside.
func (p *pool) work(n, grain int) {
	p.n, p.grain = n, grain
	p.next.Store(0)
	p.state.Add(stateJob + stateOpen)
	p.wakeAll()
	p.claim(0)
	p.state.Add(^uint64(stateOpen - 1)) // closed: late workers stay out
	for range spinRounds {
		if p.state.Load()&stateIn == 0 {
			return
		}
	}
	// A worker has lost its processor, or has much left to do: leave it ours.
	if p.state.Or(stateWaiting)&stateIn != 0 {
		<-p.left
	}
	p.state.And(^uint64(stateWaiting))
}

// claim works on pieces until none is left.
func (p *pool) claim(worker int) {
	n, grain := p.n, p.grain
	for {
		hi := int(p.next.Add(int64(grain)))
		lo := hi - grain
		if lo >= n {
			return
		}
		hi = min(hi, n)
		if p.f != nil {
			p.f(lo, hi)
		} else {
			p.fw(worker, lo, hi)
		}
	}
}

func (p *pool) wakeAll() {
	for i := range p.sleeper {
		s := &p.sleeper[i]
		if s.asleep.Load() && s.asleep.CompareAndSwap(true, false) {
			s.wake <- struct{}{}
		}
	}
}

// worker is the life of worker i, whose number for runWorkers is i+1.
func (p *pool) worker(i int) {
	var done uint64 // the last job seen
	for {
		s := p.await(i, done)
		if p.closed.Load() {
			return
		}
		done = s / stateJob
		for s&stateOpen != 0 {
			if p.state.CompareAndSwap(s, s+1) {
				p.claim(i + 1)
				if s := p.state.Add(^uint64(0)); s&stateWaiting != 0 && s&stateIn == 0 {
					p.left <- struct{}{}
				}
				break
			}
			s = p.state.Load()
		}
	}
}

// await returns the state once it holds a job later than done, or when the pool
// is closed: looking first, then asleep.
func (p *pool) await(i int, done uint64) uint64 {
	fresh := func() (uint64, bool) {
		s := p.state.Load()
		return s, s/stateJob != done || p.closed.Load()
	}
	for range spinRounds {
		if s, ok := fresh(); ok {
			return s
		}
	}
	me := &p.sleeper[i]
	for {
		me.asleep.Store(true)
		if s, ok := fresh(); ok {
			if !me.asleep.CompareAndSwap(true, false) {
				<-me.wake // the caller was about to wake us
			}
			return s
		}
		<-me.wake
	}
}
