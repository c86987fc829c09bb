package checkpoint

import "time"

const (
	// share is how many times what the checkpoints cost a run trains for them: all
	// together they take below 1% of its time.
	share = 100
	// leastWait is between two checkpoints, however little they cost.
	leastWait = 10 * time.Second
	// firstRate is the bytes a second that a run's first checkpoint is expected to be
	// written at: a slow disk's.
	firstRate = 100e6
)

// Pace says when a run's next checkpoint is due.
type Pace struct {
	every       int // steps between two; 0: by time
	start, last time.Time
	spent, cost time.Duration // of all so far, of the next as expected
}

// NewPace begins at now, for checkpoints of so many parameters. every is the steps
// between two; 0 leaves it to what they cost.
func NewPace(every, params int, now time.Time) *Pace {
	bytes := float64(params) * 3 * 4 // weights and two moments
	return &Pace{every: every, start: now, last: now, cost: time.Duration(bytes / firstRate * float64(time.Second))}
}

// Due says after step steps whether to make one. The next is expected to cost what
// the last did.
func (p *Pace) Due(step int, now time.Time) bool {
	if p.every > 0 {
		return step%p.every == 0
	}
	return now.Sub(p.last) >= leastWait && now.Sub(p.start) >= share*(p.spent+p.cost)
}

// Made tells of a checkpoint made from one time to the other.
func (p *Pace) Made(from, to time.Time) {
	p.cost = to.Sub(from)
	p.spent += p.cost
	p.last = to
}
