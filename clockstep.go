package scu

import (
	"sync"
	"time"
)

// MostStep is what a clock may go otherwise than time and still count as going right.
const MostStep = time.Minute

// ClockStep notices that a wall clock was set, or that its machine slept: what it says an age
// is can't be relied on then. The zero ClockStep is ready. It is safe for concurrent use.
type ClockStep struct {
	mu   sync.Mutex
	wall time.Time // what the clock said last
	read time.Time // when that was, by the monotonic clock
}

// Stepped returns by how much the clock, which says now, went otherwise than time since the call
// before; 0 if that is MostStep at most, or there was none.
func (c *ClockStep) Stepped(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, read := c.wall, c.read
	c.wall, c.read = now.Round(0), time.Now()
	if before.IsZero() {
		return 0
	}
	step := c.wall.Sub(before) - c.read.Sub(read)
	if step.Abs() <= MostStep {
		return 0
	}
	return step
}
