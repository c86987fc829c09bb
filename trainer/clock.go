package trainer

import "time"

// clock measures this attempt's tokens per second and estimates the time left.
type clock struct {
	start  time.Time
	tokens int64 // before this attempt
	steps  int   // made in this attempt
}

func newClock(tokens int64) *clock { return &clock{start: time.Now(), tokens: tokens} }

func (c *clock) rate(tokens int64, done, steps int) (perSecond, etaMinutes float64) {
	c.steps++
	took := max(time.Since(c.start), 1)
	return float64(tokens-c.tokens) / took.Seconds(), took.Minutes() / float64(c.steps) * float64(steps-done)
}
