// Package devices lists the kinds of compute devices of this program: the one place
// that knows them by name.
package devices

import (
	"context"
	"fmt"
	"runtime"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/cuda"
)

// Kind is a kind of device that jobs are computed on.
type Kind struct {
	Class       string // of the jobs that run on it, as the queue knows it
	Name        string // in a sentence: "the CPU"
	Description string // for people who look at trainers

	// Half is the type of activations of a job that asks for 16 bits. F32: the kind
	// has no other.
	Half kernels.DType
	// Scratch is what operations need beside buffers, in bytes, on a device that has its
	// own memory, which weights must fit into as well, and isn't there. nil: the host's
	// memory is the device's.
	Scratch func(activations kernels.DType, ops ...any) int64

	// Of a GPU: its number on its machine, its name for NVML, and its memory in bytes.
	Number int
	UUID   string
	Memory int64
	// Most is how much of its memory a trainer may take, the driver's share for a process included; 0: all.
	Most int64
	// Figures asks its driver how it fares; nil, or not ok, if that isn't known.
	Figures func() (Figures, bool)
	// Watch reports its faults until ctx ends; nil, or an error, if they aren't known.
	Watch func(ctx context.Context, report func(Fault)) error

	// NF4 reports whether a job that asks for 4 bits gets its frozen weights quantised.
	NF4 bool

	// New opens a device. Its Options name a precision that the kind has.
	New func(kernels.Options) (kernels.Device, error)
	// Available is the memory that a device could give now, and all that there is, in
	// bytes; 0 if it isn't known.
	Available func() (free, total int64)
}

// What a job must know of the devices of a class, on whatever machine they are.
var (
	anyGPU = Kind{Class: "gpu", Name: "a GPU", Half: kernels.BF16, NF4: true, Scratch: cuda.Scratch}
	anyCPU = Kind{Class: "cpu", Name: "the CPU", Half: kernels.F32}
)

// Classes lists one kind of each class, preferred first, by class, name and precisions
// alone: nothing is opened, and New and Available are nil.
func Classes() []Kind { return []Kind{anyGPU, anyCPU} }

// Default is the first of All, for what needs one device; the CPU if there is none.
func Default(threads int) Kind {
	if all, err := All(threads); err == nil {
		return all[0]
	}
	return CPU(threads)
}

// CPU computes in host memory, in F32, with so many threads.
func CPU(threads int) Kind {
	k := anyCPU
	k.Description = fmt.Sprintf("cpu, %d cores", runtime.GOMAXPROCS(0))
	k.New = func(o kernels.Options) (kernels.Device, error) {
		if o.Precision != kernels.F32 {
			return nil, fmt.Errorf("cpu: activations are F32 here, not %v", o.Precision)
		}
		return cpu.New(max(threads, 1))
	}
	k.Available = cpu.Available
	return k
}

// FP32 asks for activations of 32 bits.
const FP32 = ""

// Options are what a device is opened for, for a job that asks for activations of 32
// bits, FP32, or of 16: "fp16", or otherwise the kind's own.
func (k Kind) Options(half string) kernels.Options {
	switch {
	case half == FP32 || k.Half == kernels.F32:
		return kernels.Options{Precision: kernels.F32}
	case half == "fp16":
		return kernels.Options{Precision: kernels.F16}
	}
	return kernels.Options{Precision: k.Half}
}

// Open opens a device for a job that asks for such activations.
func (k Kind) Open(half string) (kernels.Device, error) { return k.New(k.Options(half)) }
