// Package kernels is what the trainer asks of a compute device: memory, and the
// few dozen operations that a decoder's forward and backward pass, LoRA and
// AdamW are made of.
//
// The promises, the same for every device:
//
//   - Work is queued in call order and may run later. Nothing between two calls
//     of Sync or Read needs the host: results that the host wants (losses, the
//     gradient norm) stay in buffers until they are read, once an optimiser step.
//   - The caller owns every buffer: the device neither keeps a reference after
//     the operation that used it nor allocates results. Scratch memory that an
//     operation needs inside is the device's own.
//   - The same calls give the same bytes, whatever the number of threads or
//     blocks: every reduction has a fixed order.
//   - A wrong shape or a wrong element type is a bug in the caller and panics.
//     What the machine can refuse (memory, a lost device) is an error, from
//     Alloc at once and from Sync or Read for queued work.
//
// kernels/cpu holds the plain reference and the fast CPU device;
// kernels/devicetest is the suite that every device passes.
package kernels

import "fmt"

// DType is the element type of a buffer.
type DType uint8

const (
	F32  DType = iota // activations on the CPU, LoRA weights, optimiser state
	F64               // scalars that the host reads: sums of losses and of squares
	BF16              // frozen weights; activations on CUDA
	F16               // frozen weights; activations on CUDA
	I32               // token ids and targets
	NF4               // frozen weights, bitsandbytes' 4-bit NormalFloat (see Quantized)
)

func (d DType) String() string {
	switch d {
	case F32:
		return "F32"
	case F64:
		return "F64"
	case BF16:
		return "BF16"
	case F16:
		return "F16"
	case I32:
		return "I32"
	case NF4:
		return "NF4"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// Bytes returns the memory that n elements take. NF4 counts its packed codes
// only, not the block scales.
func (d DType) Bytes(n int) int {
	switch d {
	case F64:
		return 8 * n
	case BF16, F16:
		return 2 * n
	case NF4:
		return (n + 1) / 2
	}
	return 4 * n
}

// Buffer is a run of elements in a device's memory. Only the device that made it
// can use it.
type Buffer interface {
	DType() DType
	Len() int
	// Slice is a view of n elements from off on; it shares memory with the buffer
	// and is valid as long as it. Not for NF4.
	Slice(off, n int) Buffer
}

// Mat is a row-major matrix in a buffer: element (i,j) lies at Off + i*Stride + j.
type Mat struct {
	Buf        Buffer
	Off        int
	Rows, Cols int
	Stride     int
}

// Matrix views the start of b as a dense rows x cols matrix.
func Matrix(b Buffer, rows, cols int) Mat { return Mat{Buf: b, Rows: rows, Cols: cols, Stride: cols} }

// Columns is the sub-matrix of n columns from column j on.
func (m Mat) Columns(j, n int) Mat { m.Off += j; m.Cols = n; return m }

// RowRange is the sub-matrix of n rows from row i on.
func (m Mat) RowRange(i, n int) Mat { m.Off += i * m.Stride; m.Rows = n; return m }

// Heads is a [rows, N, Dim] view of attention heads inside a matrix: head h of
// row i starts at Off + i*RowStride + h*HeadStride. It describes separate
// projections and every packed layout of q, k and v alike.
type Heads struct {
	Buf                   Buffer
	Off                   int
	N, Dim                int
	RowStride, HeadStride int
}

// HeadsOf views matrix m as m.Cols/dim heads, one beside the other.
func HeadsOf(m Mat, dim int) Heads {
	return Heads{Buf: m.Buf, Off: m.Off, N: m.Cols / dim, Dim: dim, RowStride: m.Stride, HeadStride: dim}
}

// Quantized is a frozen matrix as bitsandbytes stores it: NF4 codes, two a byte
// (the high nibble first), in row-major blocks of 64 that share a scale.
// Double quantisation is undone when it is uploaded: absmax is one F32 a block.
type Quantized struct {
	Packed []byte    // (n+1)/2 bytes
	Absmax []float32 // ceil(n/64) scales
	N      int       // elements
}

// Activation is the non-linearity of a feed-forward layer.
type Activation uint8

const (
	GELU     Activation = iota // x Phi(x), by erf
	GELUTanh                   // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
	SiLU                       // x sigmoid(x)
	ReLU                       // max(x, 0)
)

// MatMul is Dst = Alpha op(A) op(B) + Beta Dst, and + Bias on each row where
// there is one. op transposes where asked. A and Dst hold activations; B may be
// frozen weights of any type, widened as they are read.
// Sizes after op: A [m,k], B [k,n], Dst [m,n], Bias [n] (F32).
type MatMul struct {
	Dst, A, B      Mat
	TransA, TransB bool
	Alpha, Beta    float32
	Bias           Buffer
}

// Attention is causal scaled dot-product attention with grouped query heads.
//
// Q is [Batch*QueryLen, Q.N, Dim], K and V [Batch*KeyLen, K.N, Dim], Out like Q;
// Q.N is a multiple of K.N and query head h reads key head h/(Q.N/K.N). The
// queries are the last QueryLen of KeyLen positions (QueryLen == KeyLen in
// training; fewer when a key-value cache is read). Position i sees positions
// j <= i, and only i-j < Window where Window > 0.
//
// scores = Scale q.k; where Softcap > 0: Softcap tanh(scores/Softcap).
// LSE [Batch, Q.N, QueryLen] (F32) receives log sum exp of each row's scores:
// what the backward pass needs instead of the probabilities.
// Nothing of size QueryLen x KeyLen is kept (FlashAttention, arXiv:2205.14135).
type Attention struct {
	Batch, QueryLen, KeyLen int
	Q, K, V, Out            Heads
	LSE                     Buffer
	Scale, Softcap          float32
	Window                  int
}

// AttentionGrad asks for the gradients of an Attention with the same fields;
// Out and LSE hold what the forward pass left. DQ, DK, DV are overwritten. A query
// that sees one key alone has a gradient of 0, and not of rounding errors, which
// AdamW would blow up to whole steps.
type AttentionGrad struct {
	Attention
	DOut, DQ, DK, DV Heads
}

// RoPE rotates pairs of the first 2*Half elements of each head in place: element
// i with element i+Half (rotate-half, as Llama and GPT-NeoX do; RoFormer,
// arXiv:2104.09864). Row r is at position Start + r mod Len. Cos and Sin are F32
// tables [positions, Half]. Inverse rotates back, which is the gradient.
type RoPE struct {
	X         Heads
	Rows, Len int
	Start     int
	Half      int
	Cos, Sin  Buffer
	Inverse   bool
}

// Norm is RMSNorm (arXiv:1910.07467) where Bias and Mean are nil, and LayerNorm
// (arXiv:1607.06450) where they are not, over the columns of X.
// Weight and Bias are F32 [cols]; UnitOffset scales by 1 + Weight (Gemma). Weight
// may be nil (scale 1). Rstd and, for LayerNorm, Mean [rows] are kept for the
// backward pass.
type Norm struct {
	Dst, X       Mat
	Weight, Bias Buffer
	Mean, Rstd   Buffer
	Eps          float32
	UnitOffset   bool
	LayerNorm    bool
}

// NormGrad is the gradient of a Norm to its input: DX = ..., or DX += ... where
// Accumulate is set. Weights are frozen and get none. X, Weight, Mean and Rstd
// as in the forward pass; Dst is not read.
type NormGrad struct {
	Norm
	DX, DY     Mat
	Accumulate bool
}

// LinearCrossEntropy is the output head and the loss in one: logits =
// X Head^T + Bias, soft-capped where Softcap > 0; Losses[i] = -log
// softmax(logits_i)[Targets[i]] in nats, 0 where Targets[i] < 0. Where DX has a
// buffer, DX = GradScale d(sum of Losses)/dX. Logits exist a chunk at a time,
// never rows x vocabulary.
// X [rows,D], Head [V,D] (any weight type), Bias F32 [V] or nil, Targets I32,
// Losses F32 [rows].
type LinearCrossEntropy struct {
	X, Head         Mat
	Bias            Buffer
	LoRA            HeadLoRA
	Targets, Losses Buffer
	DX              Mat
	GradScale       float32
	Softcap         float32
}

// HeadLoRA is an adapter's share of the logits of a LinearCrossEntropy: X Head^T
// grows by Scale U B^T where U has a buffer, U [rows,R] and B [V,R]. With DX the
// same gradient goes to U and B: DU = ..., overwritten, and DB += ....
type HeadLoRA struct {
	U, B, DU, DB Mat
	Scale        float32
}

// AdamW is one decoupled-weight-decay Adam step (arXiv:1711.05101) over flat F32
// buffers, the arithmetic of torch.optim.AdamW. The gradient is first scaled by
// min(1, MaxNorm/(sqrt(NormSquared[0]) + 1e-6)), as torch's clip_grad_norm_ does;
// MaxNorm 0 leaves it. Step counts from 1. If NormSquared isn't finite nothing
// changes: the weights and moments of before stay.
type AdamW struct {
	Param, Grad, M, V Buffer
	NormSquared       Buffer // F64 [1], made by SumSquares
	MaxNorm           float64
	LearningRate      float64
	Beta1, Beta2, Eps float64
	WeightDecay       float64
	Step              int
}

// Device is a compute device: see the package comment for what it promises.
type Device interface {
	// Name tells what computes here: "cpu (avx512)". Devices of one name give the
	// same bytes, so it says nothing of the number of threads.
	Name() string
	// Activations is the element type of activations here: F32 on the CPU.
	Activations() DType

	// Alloc returns n zeroed elements.
	Alloc(t DType, n int) (Buffer, error)
	// Free gives a buffer made by Alloc or Upload back. Views of it end with it.
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

	// Write copies host values into an F32 or I32 buffer.
	WriteF32(dst Buffer, src []float32)
	WriteI32(dst Buffer, src []int32)
	// Read waits for the work queued so far and copies a buffer to the host.
	ReadF32(dst []float32, src Buffer) error
	ReadF64(dst []float64, src Buffer) error
	// Sync waits for all queued work.
	Sync() error
	// Close frees everything. No call may follow.
	Close() error

	// Zero sets every element to 0.
	Zero(Buffer)
	// Copy is dst = src, element by element, converting between types; same shape.
	Copy(dst, src Mat)
	// Add is dst = a + b; dst may be a or b.
	Add(dst, a, b Mat)
	// Scale is dst = alpha src; dst may be src.
	Scale(dst, src Mat, alpha float32)
	// Axpy is y += alpha x over flat F32 buffers.
	Axpy(y Buffer, alpha float64, x Buffer)

	// Embed is dst[i] = scale table[ids[i]] (rows of any weight type); with add,
	// dst[i] += ....
	Embed(dst Mat, table Mat, ids Buffer, scale float32, add bool)
	MatMul(MatMul)
	Norm(Norm)
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

	// Dropout is dst = src where the mask keeps the element, divided by 1-p, and 0
	// elsewhere; with add, dst += .... The mask is a function of key and the
	// element's index (row*cols + column) alone, see DropoutMask: applying it to
	// the gradient with the same key is the backward pass.
	Dropout(dst, src Mat, p float32, key uint64, add bool)
	LinearCrossEntropy(LinearCrossEntropy)

	// Sum is dst[i] = the sum of src's F32 elements, in F64.
	Sum(dst Buffer, i int, src Buffer)
	// SumSquares is dst[i] = the sum of squares of src's F32 elements, in F64.
	SumSquares(dst Buffer, i int, src Buffer)
	AdamW(AdamW)
}
