// Package nvml asks NVIDIA's management library what the machine's GPUs are and how they
// fare. It stands on go-nvml and is built with the tag cuda. CUDA works without it: then
// nothing is known.
package nvml

import "errors"

// Card is a GPU as it is now. What its driver doesn't tell is 0.
type Card struct {
	Number      int // nvidia-smi's; CUDA may count in another order, and only those that it sees
	UUID        string
	Name        string
	Total, Free int64 // memory in bytes
	Utilisation int   // of the last second or less, in percent
	Temperature int   // of the chip, in degrees Celsius
	Watts       int
	MIG         bool // it is cut into slices, each a GPU for CUDA
	Processes   []Process
}

// Process is one that computes on a card.
type Process struct {
	ID     int
	Memory int64 // in bytes
}

// Fault is what the driver reports of a card: an Xid, or a double-bit error of its memory.
type Fault struct {
	UUID string
	Xid  int // 0: an uncorrectable error of the memory
}

var errNone = errors.New("not built in")
