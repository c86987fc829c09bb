package cuda

import "unsafe"

// call is the launch of one kernel.
type call struct {
	kernel  string // "source.entry"
	grid    [3]int
	threads int
	shared  int    // bytes of dynamic shared memory
	cluster int    // blocks of a cluster, 0 for none
	args    []byte // the structure that the kernel takes by value
	// maps are tensor maps inside args, to be made by cuTensorMapEncodeTiled.
	maps []tensorMap
}

// tensorMap describes a matrix of heads to Hopper's copy engine: a 4-dimensional tensor of
// 16-bit elements (column, head, row, sequence), copied in boxes of 64 columns of 1 head and
// some rows, 128-byte swizzle, zeros outside.
type tensorMap struct {
	at      int // where in the call's args its 128 bytes are
	address uint64
	dims    [4]uint64
	strides [3]uint64 // bytes from one head, row, sequence to the next
	box     [4]uint32
}

// card is what kernels are chosen by.
type card struct {
	multiprocessors int
	hopper          bool // compute capability 9.0: sm_90a code runs
	little          bool // a block has 99 KiB of shared memory, as on 8.6, 8.9 and 12.x, and not 163 or more
}

// argument is a kernel's parameter as bytes: structures here mirror those in the sources, with
// pointers first and nothing between fields.
func argument[T any](args *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args))
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
