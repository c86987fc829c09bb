//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// buffer is memory of the GPU, or of the host as the GPU sees it.
type buffer struct {
	dtype  kernels.DType
	n      int
	at     driver.Pointer
	scales driver.Pointer // of NF4, behind the codes
	bytes  int64          // what Allocated counts; 0 for views
	owner  *buffer        // what a view is of
	host   *pinned        // nil: the GPU's memory
}

func (b *buffer) DType() kernels.DType { return b.dtype }
func (b *buffer) Len() int             { return b.n }

func (b *buffer) Slice(off, n int) kernels.Buffer {
	if off < 0 || n < 0 || off+n > b.n {
		panic(fmt.Sprintf("cuda: slice [%d, %d) of a buffer of %d elements", off, off+n, b.n))
	}
	if b.dtype == kernels.NF4 {
		panic("cuda: an NF4 buffer has no slices")
	}
	owner := b
	if b.owner != nil {
		owner = b.owner
	}
	return &buffer{dtype: b.dtype, n: n, at: b.at + driver.Pointer(b.dtype.Bytes(off)), owner: owner}
}

// memory makes buffers, keeps count, and keeps the first error of queued work.
type memory struct {
	ctx         *driver.Context
	activations kernels.DType

	mu        sync.Mutex
	now, peak int64
	live      map[*buffer]struct{}
	err       error
	staging   staging
	host      atomic.Int64   // bytes of the host's memory
	beside    *driver.Beside // where copies go on beside the work; nil until there is memory of the host's

	queue sync.Mutex   // held by what is queued from outside operations, and while those are recorded
	state atomic.Int64 // changes when memory is given back
}

func (m *memory) Activations() kernels.DType { return m.activations }

func (m *memory) capability() int {
	major, minor := m.ctx.Capability()
	return 10*major + minor
}

// fail keeps an error of queued work for Sync and Read; nothing is queued behind it.
func (m *memory) fail(err error) {
	if err == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
}

func (m *memory) failed() bool { return m.failure() != nil }

// failure is the error that fail has kept.
func (m *memory) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return fmt.Errorf("cuda: %w", m.err)
	}
	return nil
}

func (m *memory) Alloc(t kernels.DType, n int) (kernels.Buffer, error) {
	if n < 0 {
		panic(fmt.Sprintf("cuda: Alloc of %d elements", n))
	}
	if t == kernels.NF4 {
		panic("cuda: NF4 buffers are made by UploadQuantized")
	}
	b, err := m.allocate(t, n, t.Bytes(n))
	if err != nil {
		return nil, err
	}
	m.queue.Lock()
	err = m.ctx.Zero(b.at, max(1, t.Bytes(n)))
	m.queue.Unlock()
	if err != nil {
		m.Free(b)
		return nil, fmt.Errorf("cuda: %w", err)
	}
	return b, nil
}

// allocate makes a buffer that holds anything.
func (m *memory) allocate(t kernels.DType, n, bytes int) (*buffer, error) {
	m.queue.Lock()
	p, err := m.ctx.Alloc(max(1, bytes)) // an address even where there are no elements
	m.queue.Unlock()
	if err != nil {
		var refused driver.Error
		if errors.As(err, &refused) && refused.Code == driver.OutOfMemory {
			free, total := m.Available()
			return nil, fmt.Errorf("cuda: %d MiB for a buffer of %d %v elements with %d MiB of the GPU's %d free: %w; use a smaller batch, block or model, or checkpointing",
				bytes>>20, n, t, free>>20, total>>20, err)
		}
		return nil, fmt.Errorf("cuda: a buffer of %d %v elements: %w", n, t, err)
	}
	b := &buffer{dtype: t, n: n, at: p, bytes: int64(bytes)}
	m.keep(b)
	return b, nil
}

// keep counts a new buffer.
func (m *memory) keep(b *buffer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		m.live = map[*buffer]struct{}{}
	}
	m.live[b] = struct{}{}
	m.now += b.bytes
	m.peak = max(m.peak, m.now)
}

// release gives a buffer's memory back.
func (m *memory) release(b *buffer) error {
	defer func() { *b = buffer{dtype: b.dtype} }()
	if b.host != nil {
		return m.unpin(b.host)
	}
	return m.ctx.Free(b.at)
}

func (m *memory) Free(kb kernels.Buffer) {
	b := kb.(*buffer)
	m.mu.Lock()
	_, ok := m.live[b]
	if ok {
		delete(m.live, b)
		m.now -= b.bytes
	}
	m.mu.Unlock()
	if !ok {
		panic("cuda: Free of a view, or of what is free")
	}
	m.state.Add(1)
	m.queue.Lock()
	err := m.release(b)
	m.queue.Unlock()
	m.fail(err)
}

// put queues a copy from the host.
func (m *memory) put(to driver.Pointer, data []byte) error {
	m.queue.Lock()
	defer m.queue.Unlock()
	return m.staging.write(m.ctx, to, data)
}

// freeAll gives back what Close finds.
func (m *memory) freeAll() error {
	errs := []error{m.staging.free(m.ctx)}
	m.mu.Lock()
	defer m.mu.Unlock()
	for b := range m.live {
		errs = append(errs, m.release(b))
	}
	m.live, m.now = nil, 0
	if m.beside != nil {
		errs = append(errs, m.beside.Wait(), m.beside.Close())
		m.beside = nil
	}
	return errors.Join(errs...)
}

func (m *memory) Allocated() (now, peak int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.peak
}

func (m *memory) Available() (free, total int64) {
	free, total, err := m.ctx.Memory()
	if err != nil {
		return 0, 0
	}
	return free, total
}

func (m *memory) Upload(t kernels.DType, data []byte) (kernels.Buffer, error) {
	if t == kernels.NF4 {
		panic("cuda: NF4 buffers are made by UploadQuantized")
	}
	size := t.Bytes(1)
	if len(data)%size != 0 {
		panic(fmt.Sprintf("cuda: Upload of %d bytes, not a multiple of %v's %d", len(data), t, size))
	}
	b, err := m.allocate(t, len(data)/size, len(data))
	if err != nil {
		return nil, err
	}
	if err := m.put(b.at, data); err != nil {
		m.Free(b)
		return nil, fmt.Errorf("cuda: %w", err)
	}
	return b, nil
}

func (m *memory) UploadQuantized(q kernels.Quantized) (kernels.Buffer, error) {
	if blocks := ceilDiv(q.N, kernels.NF4Block); len(q.Packed) != kernels.NF4.Bytes(q.N) || len(q.Absmax) != blocks {
		panic(fmt.Sprintf("cuda: NF4 of %d elements with %d bytes and %d scales, want %d and %d",
			q.N, len(q.Packed), len(q.Absmax), kernels.NF4.Bytes(q.N), blocks))
	}
	codes := (len(q.Packed) + 15) &^ 15 // the scales are aligned
	b, err := m.allocate(kernels.NF4, q.N, codes+4*len(q.Absmax))
	if err != nil {
		return nil, err
	}
	b.scales = b.at + driver.Pointer(codes)
	err = m.put(b.at, q.Packed)
	if err == nil {
		err = m.put(b.scales, raw(q.Absmax))
	}
	if err != nil {
		m.Free(b)
		return nil, fmt.Errorf("cuda: %w", err)
	}
	return b, nil
}

// raw views numbers as their bytes.
func raw[T float32 | float64 | int32 | uint64 | uint16](x []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(one)))
}

// write queues host values for a buffer of their type.
func write[T float32 | float64 | int32 | uint64](m *memory, op string, t kernels.DType, dst kernels.Buffer, src []T) {
	b := dst.(*buffer)
	if b.dtype != t || b.n != len(src) {
		panic(fmt.Sprintf("cuda: %s of %d values into a buffer of %d %v", op, len(src), b.n, b.dtype))
	}
	if !m.failed() {
		m.fail(m.put(b.at, raw(src)))
	}
}

func (m *memory) WriteF32(dst kernels.Buffer, src []float32) {
	if dst.DType() == kernels.F64 {
		wide := make([]float64, len(src))
		for i, x := range src {
			wide[i] = float64(x)
		}
		write(m, "WriteF32", kernels.F64, dst, wide)
		return
	}
	write(m, "WriteF32", kernels.F32, dst, src)
}

func (m *memory) WriteF64(dst kernels.Buffer, src []float64) {
	write(m, "WriteF64", kernels.F64, dst, src)
}

func (m *memory) WriteU64(dst kernels.Buffer, src []uint64) {
	write(m, "WriteU64", kernels.U64, dst, src)
}

func (m *memory) WriteI32(dst kernels.Buffer, src []int32) {
	write(m, "WriteI32", kernels.I32, dst, src)
}

// read waits for queued work and copies.
func (m *memory) read(dst []byte, b *buffer) error {
	if err := m.failure(); err != nil {
		return err
	}
	if len(dst) == 0 {
		return m.Sync()
	}
	if err := m.ctx.CopyOut(dst, b.at); err != nil {
		m.fail(err)
		return fmt.Errorf("cuda: %w", err)
	}
	return nil
}

func (m *memory) ReadF32(dst []float32, src kernels.Buffer) error {
	b := src.(*buffer)
	var widen func(uint16) float32
	switch b.dtype {
	case kernels.F32:
	case kernels.BF16:
		widen = kernels.FromBF16
	case kernels.F16:
		widen = kernels.FromF16
	default:
		panic(fmt.Sprintf("cuda: ReadF32 of a buffer of %v", b.dtype))
	}
	if b.n != len(dst) {
		panic(fmt.Sprintf("cuda: ReadF32 of a buffer of %d into %d values", b.n, len(dst)))
	}
	if widen == nil {
		return m.read(raw(dst), b)
	}
	half := make([]uint16, b.n)
	if err := m.read(raw(half), b); err != nil {
		return err
	}
	for i, h := range half {
		dst[i] = widen(h)
	}
	return nil
}

func (m *memory) ReadF64(dst []float64, src kernels.Buffer) error {
	b := src.(*buffer)
	if b.n != len(dst) || b.dtype != kernels.F64 {
		panic(fmt.Sprintf("cuda: ReadF64 of a buffer of %d %v into %d values", b.n, b.dtype, len(dst)))
	}
	return m.read(raw(dst), b)
}

func (m *memory) Sync() error {
	err := m.ctx.Wait()
	if m.beside != nil {
		err = errors.Join(err, m.beside.Wait())
	}
	m.fail(err)
	return m.failure()
}

// widest is a matrix's size limit: kernels count rows and columns in 32 bits.
const widest = math.MaxInt32
