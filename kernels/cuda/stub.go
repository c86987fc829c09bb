//go:build !(cuda && cgo && linux)

package cuda

import (
	"errors"

	"github.com/shannon-control/scu/kernels"
)

var errNotBuilt = errors.New("this program is built without CUDA: build it with make build-cuda, on Linux")

// Available returns why no GPU can be used here, or nil.
func Available() error { return errNotBuilt }

// GPUs lists the GPUs that the process sees: without CUDA, none.
func GPUs() ([]GPU, error) { return nil, errNotBuilt }

// Available is the memory that the GPU could give now, and all that it has, in bytes.
func (GPU) Available() (free, total int64) { return 0, 0 }

// Open opens a GPU.
func Open(int, kernels.Options) (kernels.Device, error) { return nil, errNotBuilt }

// Driver describes the driver, or says why there is none.
func Driver() (string, error) { return "", errNotBuilt }

// Products describes the library that makes products, or says why there is none.
func Products() (string, error) { return "", errNotBuilt }

// About says what is built in and found, in a line.
func About() string { return "not built in" }
