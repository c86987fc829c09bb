package kernels

import "errors"

// What a caller tells apart of a device's errors, with errors.Is.
var (
	// ErrMemory: the device has no room for what was asked for. It can be used on.
	ErrMemory = errors.New("the device's memory is full")
	// ErrLost: the device failed, and nothing more can be done with it. One that is
	// opened anew may work.
	ErrLost = errors.New("the device failed")
)
