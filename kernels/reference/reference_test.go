package reference_test

import (
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devicetest"
	"github.com/shannon-control/scu/kernels/reference"
)

func TestReference(t *testing.T) {
	for _, precision := range []kernels.DType{kernels.F32, kernels.BF16, kernels.F16} {
		t.Run(precision.String(), func(t *testing.T) {
			t.Parallel()
			devicetest.Run(t, func() kernels.Device { return reference.New(precision) })
		})
	}
}
