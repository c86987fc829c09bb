// Package reference is the plain device: every operation as the plainest loop that
// is right, one thread, sums in float64. Slow. Devices are checked against it, and
// so is what is built on them.
//
// It computes in any precision: elements are kept as float64 and rounded to their
// type when they are written, so that code which takes 16-bit activations for F32
// fails here, without a GPU.
//
// The files are named after the operations, as in kernels.
package reference

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

type device struct {
	activations kernels.DType
	now, peak   int64
}

// New returns a device whose activations are F32, BF16 or F16.
func New(activations kernels.DType) kernels.Device {
	switch activations {
	case kernels.F32, kernels.BF16, kernels.F16:
		return &device{activations: activations}
	}
	panic(fmt.Sprintf("reference: activations of %v", activations))
}

// buffer holds its elements in x, or, if they are no floats, in i32 or u64.
type buffer struct {
	dtype kernels.DType
	x     []float64
	i32   []int32
	u64   []uint64
	bytes int64 // that Allocated counts; 0 for views
}

func (b *buffer) DType() kernels.DType { return b.dtype }
func (b *buffer) Len() int             { return len(b.x) + len(b.i32) + len(b.u64) }

func (b *buffer) Slice(off, n int) kernels.Buffer {
	if off < 0 || n < 0 || off+n > b.Len() {
		panic(fmt.Sprintf("reference: slice [%d, %d) of a buffer of %d elements", off, off+n, b.Len()))
	}
	v := &buffer{dtype: b.dtype}
	switch b.dtype {
	case kernels.I32:
		v.i32 = b.i32[off : off+n : off+n]
	case kernels.U64:
		v.u64 = b.u64[off : off+n : off+n]
	case kernels.NF4:
		panic("reference: an NF4 buffer has no slices")
	default:
		v.x = b.x[off : off+n : off+n]
	}
	return v
}

// round is the nearest number of a type.
func round(t kernels.DType, v float64) float64 {
	switch t {
	case kernels.F32:
		return float64(float32(v))
	case kernels.BF16:
		return float64(kernels.FromBF16(kernels.ToBF16(float32(v))))
	case kernels.F16:
		return float64(kernels.FromF16(kernels.ToF16(float32(v))))
	}
	return v
}

func (d *device) Name() string {
	if d.activations == kernels.F32 {
		return "reference"
	}
	return fmt.Sprintf("reference (%v)", d.activations)
}

func (d *device) Activations() kernels.DType { return d.activations }

func (d *device) Spare() int { return 0 }

func (d *device) Repeat(_ string, f func() error) error { return f() }

func (d *device) Alloc(t kernels.DType, n int) (kernels.Buffer, error) {
	if n < 0 || t == kernels.NF4 {
		panic(fmt.Sprintf("reference: Alloc of %d %v", n, t))
	}
	b := &buffer{dtype: t, bytes: int64(t.Bytes(n))}
	switch t {
	case kernels.I32:
		b.i32 = make([]int32, n)
	case kernels.U64:
		b.u64 = make([]uint64, n)
	default:
		b.x = make([]float64, n)
	}
	d.now += b.bytes
	d.peak = max(d.peak, d.now)
	return b, nil
}

func (d *device) Free(kb kernels.Buffer) {
	b := kb.(*buffer)
	d.now -= b.bytes
	*b = buffer{dtype: b.dtype} // what still uses it panics
}

func (d *device) Upload(t kernels.DType, data []byte) (kernels.Buffer, error) {
	size := t.Bytes(1)
	if t == kernels.NF4 || len(data)%size != 0 {
		panic(fmt.Sprintf("reference: Upload of %d bytes of %v", len(data), t))
	}
	kb, err := d.Alloc(t, len(data)/size)
	if err != nil {
		return nil, err
	}
	b := kb.(*buffer)
	for i := range b.Len() {
		switch e := data[i*size:]; t {
		case kernels.F32:
			b.x[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(e)))
		case kernels.F64:
			b.x[i] = math.Float64frombits(binary.LittleEndian.Uint64(e))
		case kernels.BF16:
			b.x[i] = float64(kernels.FromBF16(binary.LittleEndian.Uint16(e)))
		case kernels.F16:
			b.x[i] = float64(kernels.FromF16(binary.LittleEndian.Uint16(e)))
		case kernels.I32:
			b.i32[i] = int32(binary.LittleEndian.Uint32(e))
		case kernels.U64:
			b.u64[i] = binary.LittleEndian.Uint64(e)
		}
	}
	return b, nil
}

func (d *device) UploadQuantized(q kernels.Quantized) (kernels.Buffer, error) {
	if blocks := (q.N + kernels.NF4Block - 1) / kernels.NF4Block; len(q.Packed) != kernels.NF4.Bytes(q.N) || len(q.Absmax) != blocks {
		panic(fmt.Sprintf("reference: NF4 of %d elements with %d bytes and %d scales", q.N, len(q.Packed), len(q.Absmax)))
	}
	b := &buffer{dtype: kernels.NF4, x: make([]float64, q.N)}
	for i := range b.x {
		b.x[i] = float64(q.At(i))
	}
	return b, nil
}

func (d *device) Allocated() (now, peak int64)   { return d.now, d.peak }
func (d *device) Available() (free, total int64) { return 0, 0 }
func (d *device) Scratch(...any) int64           { return 0 }

// elements are those of a buffer of n, which has to be of one of these types.
func elements(op string, kb kernels.Buffer, n int, types ...kernels.DType) *buffer {
	b, ok := kb.(*buffer)
	if !ok {
		panic(fmt.Sprintf("reference: %s: a buffer of another device (%T)", op, kb))
	}
	for _, t := range types {
		if b.dtype == t && b.Len() == n {
			return b
		}
	}
	panic(fmt.Sprintf("reference: %s: a buffer of %d %v, want %d %v", op, b.Len(), b.dtype, n, types))
}

func (d *device) WriteF32(dst kernels.Buffer, src []float32) {
	b := elements("WriteF32", dst, len(src), kernels.F32, kernels.F64)
	for i, v := range src {
		b.x[i] = float64(v)
	}
}

func (d *device) WriteF64(dst kernels.Buffer, src []float64) {
	copy(elements("WriteF64", dst, len(src), kernels.F64).x, src)
}

func (d *device) WriteU64(dst kernels.Buffer, src []uint64) {
	copy(elements("WriteU64", dst, len(src), kernels.U64).u64, src)
}

func (d *device) WriteI32(dst kernels.Buffer, src []int32) {
	copy(elements("WriteI32", dst, len(src), kernels.I32).i32, src)
}

func (d *device) ReadF32(dst []float32, src kernels.Buffer) error {
	b := elements("ReadF32", src, len(dst), kernels.F32, kernels.BF16, kernels.F16)
	for i, v := range b.x {
		dst[i] = float32(v)
	}
	return nil
}

func (d *device) ReadF64(dst []float64, src kernels.Buffer) error {
	copy(dst, elements("ReadF64", src, len(dst), kernels.F64).x)
	return nil
}

func (d *device) Sync() error  { return nil }
func (d *device) Close() error { return nil }

func (d *device) Zero(kb kernels.Buffer) {
	b := kb.(*buffer)
	if b.dtype == kernels.NF4 {
		panic("reference: Zero of an NF4 buffer")
	}
	clear(b.x)
	clear(b.i32)
	clear(b.u64)
}

func (d *device) Copy(dst, src kernels.Mat) {
	from := matrix("Copy", src)
	to := matrix("Copy", dst, kernels.F32, kernels.BF16, kernels.F16).want("Copy", from.rows, from.cols)
	to.fill(func(i, j int) float64 { return from.row(i)[j] })
}
