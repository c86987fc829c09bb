package kernels

// HostMemory is a device with memory of its own that can use the host's beside it.
type HostMemory interface {
	// AllocHost returns n elements of the host's memory, which hold anything. Operations
	// read and write them over the bus; they don't count as allocated. Free gives them
	// back once all queued work is done. The error is ErrMemory if the host has too little
	// to spare.
	AllocHost(t DType, n int) (Buffer, error)
	// CopyBeside is dst = src, of which one is the host's, behind the work queued so far
	// and beside what is queued later. Until Join, that must neither write to src nor use dst.
	CopyBeside(dst, src Buffer)
	// Join has what is queued later begin behind the last CopyBeside from or to host.
	Join(host Buffer)
	// ReadBeside waits for the last CopyBeside to host, of F64, but not for what is queued
	// behind it, and reads what came.
	ReadBeside(dst []float64, host Buffer) error
}
