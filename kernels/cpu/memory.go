package cpu

// Buffers in host memory.

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/shannon-control/scu/kernels"
)

// buffer holds its elements in the slice of its type.
type buffer struct {
	dtype kernels.DType
	n     int
	f32   []float32 // F32
	f64   []float64 // F64
	u64   []uint64  // U64
	i32   []int32   // I32
	u16   []uint16  // BF16, F16
	nf4   kernels.Quantized

	bytes int64  // what Allocated counts: 0 for views and uploads used in place
	pages []byte // what to give back to the system, or nil
}

func (b *buffer) DType() kernels.DType { return b.dtype }
func (b *buffer) Len() int             { return b.n }

func (b *buffer) Slice(off, n int) kernels.Buffer {
	if off < 0 || n < 0 || off+n > b.n {
		panic(fmt.Sprintf("cpu: slice [%d, %d) of a buffer of %d elements", off, off+n, b.n))
	}
	v := &buffer{dtype: b.dtype, n: n}
	switch b.dtype {
	case kernels.F32:
		v.f32 = b.f32[off : off+n : off+n]
	case kernels.F64:
		v.f64 = b.f64[off : off+n : off+n]
	case kernels.U64:
		v.u64 = b.u64[off : off+n : off+n]
	case kernels.I32:
		v.i32 = b.i32[off : off+n : off+n]
	case kernels.BF16, kernels.F16:
		v.u16 = b.u16[off : off+n : off+n]
	default:
		panic("cpu: an NF4 buffer has no slices")
	}
	return v
}

// memory makes buffers and keeps count. Alloc and Free may be called from any
// goroutine.
type memory struct {
	mu        sync.Mutex
	now, peak int64
	live      map[*buffer]struct{} // buffers with pages, for Close
}

func (m *memory) Activations() kernels.DType { return kernels.F32 }

func (m *memory) Alloc(t kernels.DType, n int) (kernels.Buffer, error) {
	if n < 0 {
		panic(fmt.Sprintf("cpu: Alloc of %d elements", n))
	}
	if t == kernels.NF4 {
		panic("cpu: NF4 buffers are made by UploadQuantized")
	}
	bytes := t.Bytes(min(n, 1<<58)) // no overflow
	raw, pages, err := allocate(bytes)
	if err != nil {
		return nil, fmt.Errorf("cpu: %d MiB for a buffer of %d %v elements: %w; use a smaller batch, block or model", bytes>>20, n, t, err)
	}
	b := view(t, raw)
	b.bytes, b.pages = int64(bytes), pages
	m.account(b)
	return b, nil
}

func (m *memory) account(b *buffer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += b.bytes
	m.peak = max(m.peak, m.now)
	if b.pages != nil {
		if m.live == nil {
			m.live = map[*buffer]struct{}{}
		}
		m.live[b] = struct{}{}
	}
}

func (m *memory) Free(kb kernels.Buffer) {
	b := kb.(*buffer)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now -= b.bytes
	if b.pages != nil {
		delete(m.live, b)
		release(b.pages)
	}
	*b = buffer{dtype: b.dtype} // what still uses it panics
}

// freeAll gives back what Close finds.
func (m *memory) freeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for b := range m.live {
		release(b.pages)
		*b = buffer{dtype: b.dtype}
	}
	m.live, m.now = nil, 0
}

func (m *memory) Allocated() (now, peak int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.peak
}

// Spare is 0: adapters' shares are made apart.
func (m *memory) Spare() int { return 0 }

// Upload uses data in place where it is aligned for its type and the machine is
// little-endian; otherwise it copies.
func (m *memory) Upload(t kernels.DType, data []byte) (kernels.Buffer, error) {
	if t == kernels.NF4 {
		panic("cpu: NF4 buffers are made by UploadQuantized")
	}
	size := t.Bytes(1)
	if len(data)%size != 0 {
		panic(fmt.Sprintf("cpu: Upload of %d bytes, not a multiple of %v's %d", len(data), t, size))
	}
	if len(data) == 0 {
		return &buffer{dtype: t}, nil
	}
	if littleEndian && uintptr(unsafe.Pointer(&data[0]))%uintptr(size) == 0 {
		return view(t, data), nil
	}
	kb, err := m.Alloc(t, len(data)/size)
	if err != nil {
		return nil, err
	}
	b := kb.(*buffer)
	switch t {
	case kernels.F32:
		for i := range b.f32 {
			b.f32[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case kernels.F64:
		for i := range b.f64 {
			b.f64[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		}
	case kernels.U64:
		for i := range b.u64 {
			b.u64[i] = binary.LittleEndian.Uint64(data[8*i:])
		}
	case kernels.I32:
		for i := range b.i32 {
			b.i32[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
		}
	default:
		for i := range b.u16 {
			b.u16[i] = binary.LittleEndian.Uint16(data[2*i:])
		}
	}
	return b, nil
}

func (m *memory) UploadQuantized(q kernels.Quantized) (kernels.Buffer, error) {
	if blocks := (q.N + kernels.NF4Block - 1) / kernels.NF4Block; len(q.Packed) != kernels.NF4.Bytes(q.N) || len(q.Absmax) != blocks {
		panic(fmt.Sprintf("cpu: NF4 of %d elements with %d bytes and %d scales, want %d and %d",
			q.N, len(q.Packed), len(q.Absmax), kernels.NF4.Bytes(q.N), blocks))
	}
	return &buffer{dtype: kernels.NF4, n: q.N, nf4: q}, nil
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// view reads raw memory, aligned for t, as elements.
func view(t kernels.DType, raw []byte) *buffer {
	n := len(raw) / t.Bytes(1)
	b := &buffer{dtype: t, n: n}
	p := unsafe.Pointer(unsafe.SliceData(raw))
	switch t {
	case kernels.F32:
		b.f32 = unsafe.Slice((*float32)(p), n)
	case kernels.F64:
		b.f64 = unsafe.Slice((*float64)(p), n)
	case kernels.U64:
		b.u64 = unsafe.Slice((*uint64)(p), n)
	case kernels.I32:
		b.i32 = unsafe.Slice((*int32)(p), n)
	default:
		b.u16 = unsafe.Slice((*uint16)(p), n)
	}
	return b
}

func (m *memory) WriteF32(dst kernels.Buffer, src []float32) {
	switch b := dst.(*buffer); {
	case b.n != len(src):
		panic(fmt.Sprintf("cpu: WriteF32 of %d values into a buffer of %d", len(src), b.n))
	case b.dtype == kernels.F32:
		copy(b.f32, src)
	case b.dtype == kernels.F64:
		for i, x := range src {
			b.f64[i] = float64(x)
		}
	default:
		panic(fmt.Sprintf("cpu: WriteF32 into a buffer of %v", b.dtype))
	}
}

func (m *memory) WriteF64(dst kernels.Buffer, src []float64) {
	b := dst.(*buffer)
	if b.dtype != kernels.F64 || b.n != len(src) {
		panic(fmt.Sprintf("cpu: WriteF64 of %d values into a buffer of %d %v", len(src), b.n, b.dtype))
	}
	copy(b.f64, src)
}

func (m *memory) WriteU64(dst kernels.Buffer, src []uint64) {
	b := dst.(*buffer)
	if b.dtype != kernels.U64 || b.n != len(src) {
		panic(fmt.Sprintf("cpu: WriteU64 of %d values into a buffer of %d %v", len(src), b.n, b.dtype))
	}
	copy(b.u64, src)
}

func (m *memory) WriteI32(dst kernels.Buffer, src []int32) {
	b := dst.(*buffer)
	if b.dtype != kernels.I32 || b.n != len(src) {
		panic(fmt.Sprintf("cpu: WriteI32 of %d values into a buffer of %d %v", len(src), b.n, b.dtype))
	}
	copy(b.i32, src)
}

func (m *memory) ReadF32(dst []float32, src kernels.Buffer) error {
	b := src.(*buffer)
	if b.n != len(dst) || b.dtype == kernels.F64 || b.dtype == kernels.U64 || b.dtype == kernels.I32 {
		panic(fmt.Sprintf("cpu: ReadF32 of a buffer of %d %v into %d values", b.n, b.dtype, len(dst)))
	}
	b.widen(dst, 0)
	return nil
}

func (m *memory) ReadF64(dst []float64, src kernels.Buffer) error {
	b := src.(*buffer)
	if b.n != len(dst) || b.dtype != kernels.F64 {
		panic(fmt.Sprintf("cpu: ReadF64 of a buffer of %d %v into %d values", b.n, b.dtype, len(dst)))
	}
	copy(dst, b.f64)
	return nil
}

// Sync has nothing to wait for: operations return when they are done.
func (m *memory) Sync() error { return nil }

// widen copies elements from off on to dst, as F32.
func (b *buffer) widen(dst []float32, off int) {
	switch b.dtype {
	case kernels.F32:
		copy(dst, b.f32[off:off+len(dst)])
	case kernels.BF16:
		for i, h := range b.u16[off : off+len(dst)] {
			dst[i] = kernels.FromBF16(h)
		}
	case kernels.F16:
		for i, h := range b.u16[off : off+len(dst)] {
			dst[i] = kernels.FromF16(h)
		}
	case kernels.NF4:
		for i := range dst {
			dst[i] = b.nf4.At(off + i)
		}
	default:
		panic(fmt.Sprintf("cpu: a matrix of %v", b.dtype))
	}
}

// narrow is the way back from widen.
func (b *buffer) narrow(off int, src []float32) {
	switch b.dtype {
	case kernels.F32:
		copy(b.f32[off:off+len(src)], src)
	case kernels.BF16:
		for i, x := range src {
			b.u16[off+i] = kernels.ToBF16(x)
		}
	case kernels.F16:
		for i, x := range src {
			b.u16[off+i] = kernels.ToF16(x)
		}
	default:
		panic(fmt.Sprintf("cpu: %v can't be written", b.dtype))
	}
}

// region is scratch memory that grows, where buffers live: the collector would let
// as much garbage lie as there is of it.
type region struct {
	f32   []float32
	pages []byte
}

// grow makes room for n elements; what was there is lost.
func (r *region) grow(n int) {
	if n <= len(r.f32) {
		return
	}
	r.free()
	raw, pages, err := allocate(4 * n)
	if err != nil {
		raw, pages = heap(4*n), nil // an operation returns no error: where there is none on the heap either, the process ends
	}
	r.f32, r.pages = view(kernels.F32, raw).f32, pages
}

// buffer lends the region out as a device's buffer.
func (r *region) buffer() *buffer {
	return &buffer{dtype: kernels.F32, n: len(r.f32), f32: r.f32}
}

func (r *region) free() {
	if r.pages != nil {
		release(r.pages)
	}
	*r = region{}
}

// heap returns zeroed memory of Go's heap, aligned for every element type.
func heap(bytes int) []byte {
	words := make([]float64, (bytes+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), bytes)
}
