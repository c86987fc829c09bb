package estimate

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
)

// Calibration knows how long operations take on this machine. It times each operation
// once, for a few milliseconds, when it is first asked for. It is safe for concurrent
// use.
type Calibration struct {
	// Device is the kind that is timed: the one jobs run on.
	Device devices.Kind

	mu    sync.Mutex
	known map[string]float64 // seconds a unit
}

// An operation is timed as the median of some samples, each over that many bytes of
// operands. Training returns to a buffer only after it has used many others, so operands
// must not fit a core's own caches.
const (
	samples = 3
	spread  = 48 << 20
	maxSets = 48 // of operands
)

// seconds is the time that calls take on a device in sequence.
func (c *Calibration) seconds(ctx context.Context, dev kernels.Device, calls map[string]*call) (total float64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]float64{}
	}
	for key, x := range calls {
		key = fmt.Sprint(dev.Activations(), " ", key)
		each, ok := c.known[key]
		if !ok {
			if err := ctx.Err(); err != nil {
				return 0, err
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

// measure is the time of a call's operation, in seconds.
func measure(dev kernels.Device, x *call) (float64, error) {
	o := &operands{dev: dev}
	defer o.free()
	runs := []func(){x.prepare(o)}
	for each := o.bytes; o.bytes+each <= spread && len(runs) < maxSets && o.err == nil; {
		runs = append(runs, x.prepare(o))
	}
	if o.err != nil {
		return 0, o.err
	}
	took := make([]time.Duration, samples)
	for i := -1; i < samples; i++ { // the first round touches memory for the first time
		start := time.Now()
		for _, run := range runs {
			run()
		}
		if err := dev.Sync(); err != nil {
			return 0, err
		}
		if i >= 0 {
			took[i] = time.Since(start)
		}
	}
	slices.Sort(took)
	return took[samples/2].Seconds() / float64(len(runs)), nil
}
