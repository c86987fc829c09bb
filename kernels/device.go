// Package kernels is what the trainer asks of a compute device: memory, and the
// few dozen operations that a decoder's forward and backward pass, LoRA and
// AdamW are made of.
//
// The promises, the same for every device:
//
//   - Work is queued in call order and may run later. Nothing between two calls
//     of Sync or Read needs the host: results that the host wants (losses, the
//     gradient norm) stay in buffers until they are read, once an optimiser step.
//   - What changes from step to step (rates, keys, ids, positions) lies in device
//     memory, so that the same calls can be recorded once and replayed.
//   - The caller owns every buffer: the device keeps no reference after the
//     operation that used it and allocates no results. Scratch memory that an
//     operation needs inside is the device's own (see Memory.Scratch).
//   - The same calls give the same bytes, whatever the number of threads or
//     blocks: every reduction has a fixed order.
//   - What a destination held before doesn't matter unless an operation adds to it.
//   - A wrong shape or a wrong element type is a bug in the caller and panics.
//     What the machine can refuse (memory, a lost device) is an error, from
//     Alloc at once and from Sync or Read for queued work.
//
// Element types: "activations" are of the type Memory.Activations, which the
// device was opened for (Options.Precision); "frozen" matrices are F32, BF16, F16
// or NF4, widened as they are read; LoRA's weights and all gradients of weights
// are F32. Sums are F32 or wider, whatever the operands.
//
// The operations form a table. Each of matmul, linear, attention, norm, rope,
// gate, crossentropy, dropout, optimizer, reduce and embed is a file here, which
// defines it (reduce is in this one), and in kernels/reference (plain loops),
// kernels/cpu (fast) and kernels/devicetest, the suite that every device passes.
package kernels

// Device is a compute device: see the package comment for what it promises.
type Device interface {
	Memory
	Ops
}

// Options say what a device is opened for.
type Options struct {
	// Precision is the type of activations: F32, BF16 or F16. A device that can't
	// compute in it says so when it is opened.
	Precision DType
	// Cache is a folder where the device may keep what it has measured of itself, so
	// that the next one here computes to the same bytes; "" for none.
	Cache string
}

// Memory is a device's memory, and the way in and out of it.
type Memory interface {
	// Name tells what computes here: "cpu (avx512)". Devices of one name give the
	// same bytes, so it says nothing of the number of threads.
	Name() string
	// Activations is the element type of activations here.
	Activations() DType

	// Alloc returns n zeroed elements.
	Alloc(t DType, n int) (Buffer, error)
	// Free gives a buffer made by Alloc or Upload back, after the work queued so
	// far. Views of it end with it.
	Free(Buffer)
	// Upload makes a buffer of raw little-endian elements. A device that computes
	// in host memory may use data in place: it must stay valid and unchanged until
	// Free.
	Upload(t DType, data []byte) (Buffer, error)
	// UploadQuantized makes an NF4 buffer, under the same rule as Upload.
	UploadQuantized(q Quantized) (Buffer, error)
	// Allocated is the device memory in use by buffers, in bytes, now and at most
	// so far; uploads used in place don't count.
	Allocated() (now, peak int64)
	// Available is the memory that this process could still get here, and all that
	// the device has, in bytes; 0 if it isn't known.
	Available() (free, total int64)
	// Spare is how many columns beside the inputs and gradients of linear layers, and
	// beside and below their frozen weights of the activations' type, the device has
	// a use for (Linear.Spare): as many as the ranks of the adapters on one input may
	// sum to there. 0: none.
	Spare() int
	// Scratch is the scratch memory that the device holds once it has done ops, in
	// bytes; without any, what it holds from the start. An op is an operation's
	// struct by value (LinearGrad, Attention, LinearCrossEntropy, ...), of which
	// only sizes and types count. Nothing is allocated or run.
	Scratch(ops ...any) int64

	// Write copies host values into a buffer of their type (WriteF32 into F64 too);
	// src may be reused on return.
	WriteF32(dst Buffer, src []float32)
	WriteF64(dst Buffer, src []float64)
	WriteU64(dst Buffer, src []uint64)
	WriteI32(dst Buffer, src []int32)
	// Read waits for the work queued so far and copies a buffer to the host;
	// ReadF32 widens BF16 and F16.
	ReadF32(dst []float32, src Buffer) error
	ReadF64(dst []float64, src Buffer) error
	// Sync waits for all queued work.
	Sync() error
	// Close frees everything. No call may follow.
	Close() error
}

// MostSpare is the most that Spare is of any device.
const MostSpare = 64

// Ops are the operations. Each queues its work and returns.
type Ops interface {
	// Repeat calls f, which queues operations, or queues what f queued when it was
	// called under this key before. So f queues the same under the same key, with the
	// same arguments on the same buffers, as long as none is freed, and allocates,
	// frees, reads and writes nothing. An error of f is returned.
	Repeat(key string, f func() error) error

	// Zero sets every element to 0.
	Zero(Buffer)
	// Copy is dst = src, element by element, converting between F32, BF16 and F16,
	// and from NF4; same shape.
	Copy(dst, src Mat)

	Embed(Embed)
	MatMul(MatMul)
	Linear(Linear)
	LinearGrad(LinearGrad)

	// Add is dst = a + b of activations; dst may be a or b.
	Add(dst, a, b Mat)
	Norm(Norm)
	AddNorm(AddNorm)
	NormGrad(NormGrad)

	RoPE(RoPE)
	Attention(Attention)
	AttentionGrad(AttentionGrad)

	// Activate is dst = act(x).
	Activate(act Activation, dst, x Mat)
	// ActivateGrad is dx = dy act'(x); dx may be dy.
	ActivateGrad(act Activation, dx, x, dy Mat)
	// Gate is dst = act(gate) * up, element by element (GLU, arXiv:2002.05202).
	Gate(act Activation, dst, gate, up Mat)
	// GateGrad is dgate = dy up act'(gate) and dup = dy act(gate); dgate may be
	// gate and dup may be up.
	GateGrad(act Activation, dgate, dup, gate, up, dy Mat)
	ActivatedLinear(ActivatedLinear)
	ActivatedLinearGrad(ActivatedLinearGrad)

	Dropout(Dropout)
	LinearCrossEntropy(LinearCrossEntropy)

	// Sum is dst = the sum of src's F32 elements, in F64; dst += it if add.
	Sum(dst Scalar, src Buffer, add bool)
	// SumSquares is dst = the sum of squares of src's F32 elements, in F64.
	SumSquares(dst Scalar, src Buffer)
	// Axpy is y += alpha x over flat F32 buffers, alpha F64.
	Axpy(y Buffer, alpha Scalar, x Buffer)
	AdamW(AdamW)
}
