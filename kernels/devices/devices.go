// Package devices lists the compute devices of this program: the one place that
// knows them by name.
package devices

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
)

// Open opens the device that jobs are computed on.
func Open(o kernels.Options) (kernels.Device, error) {
	if o.Precision != kernels.F32 {
		return nil, fmt.Errorf("cpu: activations are F32 here, not %v", o.Precision)
	}
	return cpu.New(max(o.Threads, 1))
}

// Available is the memory that such a device could give now, and all that there is,
// in bytes; 0 if it isn't known.
func Available() (free, total int64) { return cpu.Available() }
