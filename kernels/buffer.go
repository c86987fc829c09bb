package kernels

// What operations work on: buffers, and views of them.

import "fmt"

// DType is the element type of a buffer.
type DType uint8

const (
	F32  DType = iota // LoRA weights, gradients, optimiser state; activations and frozen weights
	F64               // scalars: sums, rates
	BF16              // activations and frozen weights
	F16               // activations and frozen weights
	I32               // token ids, targets, positions
	NF4               // frozen weights, bitsandbytes' 4-bit NormalFloat (see Quantized)
	U64               // scalars: keys of random numbers
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
	case U64:
		return "U64"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// Bytes returns the memory that n elements take. NF4 counts its packed codes
// only, not the block scales.
func (d DType) Bytes(n int) int {
	switch d {
	case F64, U64:
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

// Scalar is element I of a buffer of F64 or U64. What changes from one step to the
// next is a Scalar, not a field of an operation: a recorded run of operations
// can be replayed with other values.
type Scalar struct {
	Buf Buffer
	I   int
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
