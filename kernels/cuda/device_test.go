//go:build cuda && cgo && linux

package cuda

import (
	"os"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/fakecuda"
	"github.com/shannon-control/scu/kernels/devicetest"
)

// realGPU is set where the tests run on a GPU: elsewhere they run on the fake driver.
var realGPU = os.Getenv("SCU_TEST_DEVICE") == "cuda"

func prepare() error {
	if realGPU {
		return nil
	}
	return fakecuda.Exec(".")
}

func open(t testing.TB, precision kernels.DType) kernels.Device {
	t.Helper()
	d, err := Open(0, kernels.Options{Precision: precision})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDevice(t *testing.T) {
	precisions := []kernels.DType{kernels.F32, kernels.BF16}
	if realGPU { // elsewhere BF16 stands for both: a minute less
		precisions = append(precisions, kernels.F16)
	}
	for _, p := range precisions {
		t.Run(p.String(), func(t *testing.T) {
			devicetest.Run(t, func() kernels.Device { return open(t, p) })
		})
	}
}

// The same work gives the same bytes.
func TestDeviceIsDeterministic(t *testing.T) {
	if !realGPU {
		t.Skip("the fake driver has one order")
	}
	devicetest.Identical(t, func() kernels.Device { return open(t, kernels.BF16) }, func() kernels.Device { return open(t, kernels.BF16) })
}
