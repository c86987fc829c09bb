package cpu

import (
	"testing"

	"scu/kernels"
	"scu/kernels/devicetest"
)

func TestReference(t *testing.T) { devicetest.Run(t, NewReference) }

func newDevice(t *testing.T, threads int) func() kernels.Device {
	return func() kernels.Device {
		d, err := New(threads)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}
