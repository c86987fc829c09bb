//go:build linux && !(cuda && cgo)

package cuda

// prepare has nothing to do where only kernels are tested, without a device.
func prepare() error { return nil }
