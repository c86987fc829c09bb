package cpu

import (
	"testing"

	"scu/kernels"
	"scu/kernels/devicetest"
)

func TestReference(t *testing.T) { devicetest.Run(t, NewReference) }

// maker makes devices of one level, whatever SCU_CPU says.
func maker(threads int, l level) func() kernels.Device {
	return func() kernels.Device { return newDevice(threads, l) }
}

func TestDevice(t *testing.T) {
	for _, l := range levels() {
		t.Run(l.String(), func(t *testing.T) { devicetest.Run(t, maker(2, l)) })
	}
}

func TestThreadsGiveTheSameBytes(t *testing.T) {
	best := machineLevel()
	devicetest.Identical(t, maker(1, best), maker(2, best), maker(3, best))
}
