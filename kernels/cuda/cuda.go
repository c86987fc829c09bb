// Package cuda is the compute device on NVIDIA's GPUs, from compute capability 8.0 on.
//
// It is built with the tag cuda (scripts/go-cuda, make build-cuda); without it Open says so. The
// kernels are CUDA C++ beside this file, one role a file, compiled ahead by scripts/kernels into
// built, which is embedded: a GPU's machine needs its driver and no toolkit.
package cuda

// GPU is one of those that the process sees.
type GPU struct {
	Number int
	Name   string
	UUID   string // as NVML writes it; "" if unknown
	Memory int64  // in bytes
}
