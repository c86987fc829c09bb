package estimate

import (
	"context"
	"slices"
	"sync"
	"time"

	"scu/kernels"
)

// Calibration knows how long operations take on this machine. It times those that
// it doesn't know yet, a few milliseconds each, and keeps what it found. It is
// safe for concurrent use.
type Calibration struct {
	// Device opens what is timed: the device that training would use.
	Device func() (kernels.Device, error)

	mu    sync.Mutex
	known map[string]float64 // seconds a unit
}

// Samples of an operation: at least so many, and more where they take no time.
const (
	samples    = 5
	sampleTime = 200 * time.Microsecond
)

// seconds is the time that calls take, one after the other.
func (c *Calibration) seconds(ctx context.Context, calls map[string]*call) (total float64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]float64{}
	}
	var dev kernels.Device
	for key, x := range calls {
		each, ok := c.known[key]
		if !ok {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			if dev == nil {
				if dev, err = c.Device(); err != nil {
					return 0, err
				}
				defer dev.Close()
			}
			if each, err = measure(dev, x); err != nil {
				return 0, err
			}
			c.known[key] = each
		}
		total += x.units * each
	}
	return total, nil
}

// measure is the median time of a call's operation.
func measure(dev kernels.Device, x *call) (float64, error) {
	o := &operands{dev: dev}
	defer o.free()
	run := x.prepare(o)
	if o.err != nil {
		return 0, o.err
	}
	timed := func(times int) (time.Duration, error) {
		start := time.Now()
		for range times {
			run()
		}
		err := dev.Sync()
		return time.Since(start) / time.Duration(times), err
	}
	if _, err := timed(1); err != nil { // touches memory for the first time
		return 0, err
	}
	once, err := timed(1)
	times := 1 + int(sampleTime/max(once, 1))
	took := make([]time.Duration, samples)
	for i := range took {
		if took[i], err = timed(times); err != nil {
			return 0, err
		}
	}
	slices.Sort(took)
	return took[samples/2].Seconds(), err
}
