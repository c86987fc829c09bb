//go:build cuda && cgo && linux

// Package driver is the CUDA driver as the device uses it: a context with one stream, modules,
// launches, memory in stream order, pinned host memory, graphs. It stands on gorgonia.org/cu and
// adds what that lacks. No library of NVIDIA's is linked: libcuda.so.1 is opened when the program
// starts (trampoline.c), and Available tells what came of it.
package driver

/*
#cgo LDFLAGS: -L${SRCDIR}/link -ldl
#include <cuda.h>
#include <stdlib.h>
#include <string.h>

int scu_driver_status(void);
const char *scu_driver_error(void);

// A call may come from any of Go's threads: each first makes the context current, which costs
// nothing where it is.
#define ON(ctx) { CUresult r = cuCtxSetCurrent(ctx); if (r) return r; }

// The parameter is copied to where its alignment is that of any structure, 64 bytes for tensor maps.
static CUresult launch(CUcontext ctx, CUstream s, CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                       unsigned threads, unsigned shared, unsigned cluster, int early, const void *args, size_t size) {
  ON(ctx)
  _Alignas(64) char parameter[1024];
  if (size > sizeof parameter) return CUDA_ERROR_INVALID_VALUE;
  memcpy(parameter, args, size);
  void *parameters[] = {parameter};
  CUlaunchAttribute attributes[2];
  CUlaunchConfig config = {gx, gy, gz, threads, 1, 1, shared, s, attributes, 0};
  if (early) {
    CUlaunchAttribute a = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, .value.programmaticStreamSerializationAllowed = 1};
    attributes[config.numAttrs++] = a;
  }
  if (cluster > 1) {
    CUlaunchAttribute a = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .value.clusterDim = {cluster, 1, 1}};
    attributes[config.numAttrs++] = a;
  }
  if (!config.numAttrs) return cuLaunchKernel(f, gx, gy, gz, threads, 1, 1, shared, s, parameters, NULL);
  return cuLaunchKernelEx(&config, f, parameters, NULL);
}
static CUresult alloc(CUcontext ctx, CUstream s, CUdeviceptr *p, size_t n) { ON(ctx) return cuMemAllocAsync(p, n, s); }
static CUresult release(CUcontext ctx, CUstream s, CUdeviceptr p) { ON(ctx) return cuMemFreeAsync(p, s); }
static CUresult zero(CUcontext ctx, CUstream s, CUdeviceptr p, size_t n) { ON(ctx) return cuMemsetD8Async(p, 0, n, s); }
static CUresult copy_in(CUcontext ctx, CUstream s, CUdeviceptr dst, const void *src, size_t n) { ON(ctx) return cuMemcpyHtoDAsync(dst, src, n, s); }
static CUresult copy_out(CUcontext ctx, CUstream s, void *dst, CUdeviceptr src, size_t n) {
  ON(ctx)
  CUresult r = cuMemcpyDtoHAsync(dst, src, n, s);
  return r ? r : cuStreamSynchronize(s);
}
static CUresult make_event(CUcontext ctx, CUevent *e, unsigned flags) { ON(ctx) return cuEventCreate(e, flags); }
static CUresult destroy_event(CUcontext ctx, CUevent e) { ON(ctx) return cuEventDestroy(e); }
static CUresult record(CUcontext ctx, CUstream s, CUevent e) { ON(ctx) return cuEventRecord(e, s); }
static CUresult wait_for(CUcontext ctx, CUevent e) { ON(ctx) return cuEventSynchronize(e); }
static CUresult elapsed(CUcontext ctx, float *ms, CUevent a, CUevent b) { ON(ctx) return cuEventElapsedTime(ms, a, b); }
static CUresult wait(CUcontext ctx, CUstream s) { ON(ctx) return cuStreamSynchronize(s); }
static CUresult pin(CUcontext ctx, void **p, size_t n) { ON(ctx) return cuMemHostAlloc(p, n, 0); }
static CUresult unpin(CUcontext ctx, void *p) { ON(ctx) return cuMemFreeHost(p); }
static CUresult memory(CUcontext ctx, CUdevice d, size_t *available, size_t *total) {
  ON(ctx)
  CUresult r = cuMemGetInfo(available, total);
  CUmemoryPool pool;
  cuuint64_t kept, used;
  if (!r && !cuDeviceGetDefaultMemPool(&pool, d) && !cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &kept) &&
      !cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used) && kept > used)
    *available += kept - used; // freed, and kept for the next who asks
  return r;
}
// Of a slice of a GPU it is the slice's.
static CUresult uuid(CUdevice d, CUuuid *id) { CUresult r = cuDeviceGetUuid_v2(id, d); return r ? cuDeviceGetUuid(id, d) : r; }
static CUresult keep(CUcontext ctx, CUdevice d) { // memory that is freed stays with the process
  ON(ctx)
  CUmemoryPool pool;
  CUresult r = cuDeviceGetDefaultMemPool(&pool, d);
  if (r) return r;
  cuuint64_t all = ~0ull;
  return cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all);
}
static CUresult trim(CUcontext ctx, CUdevice d) {
  ON(ctx)
  CUmemoryPool pool;
  CUresult r = cuDeviceGetDefaultMemPool(&pool, d);
  return r ? r : cuMemPoolTrimTo(pool, 0);
}
static CUresult tensor_map(CUcontext ctx, void *to, int elements, CUdeviceptr at, const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box) {
  ON(ctx)
  CUtensorMap map; // aligned, as Go's memory may not be
  cuuint32_t ones[4] = {1, 1, 1, 1};
  CUresult r = cuTensorMapEncodeTiled(&map, elements, 4, (void *)at, dims, strides, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  memcpy(to, &map, sizeof map);
  return r;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/shannon-control/scu/kernels"
)

// Error is a driver's refusal: the call and its CUresult.
type Error struct {
	Call string
	Code int
}

// The results that a caller tells apart.
const (
	OutOfMemory = 2
	NoDevice    = 100
)

// OfRecording reports whether a call was refused because work is being recorded.
func (e Error) OfRecording() bool { return e.Code >= 900 && e.Code < 910 }

// lost are the results after which the context is of no more use: uncorrectable errors of
// memory and links, a device that is gone, and kernels that broke off.
var lost = []int{46, 101, 201, 214, 219, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 802, 999}

// Is tells what kernels tells apart.
func (e Error) Is(target error) bool {
	return target == kernels.ErrMemory && e.Code == OutOfMemory || target == kernels.ErrLost && slices.Contains(lost, e.Code)
}

func (e Error) Error() string {
	var name, text *C.char
	if C.cuGetErrorName(C.CUresult(e.Code), &name) != 0 || C.cuGetErrorString(C.CUresult(e.Code), &text) != 0 || name == nil || text == nil {
		return fmt.Sprintf("%s: CUDA error %d", e.Call, e.Code)
	}
	return fmt.Sprintf("%s: %s (%s)", e.Call, C.GoString(text), C.GoString(name))
}

func check(call string, r C.CUresult) error {
	if r == 0 {
		return nil
	}
	return Error{Call: call, Code: int(r)}
}

// of is the error of a call that gorgonia.org/cu makes, nil if that is. Its own type is an
// integer that it doesn't export: the CUresult.
func of(call string, err error) error {
	if err == nil {
		return nil
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if r := reflect.ValueOf(e); r.CanInt() {
			return Error{Call: call, Code: int(r.Int())}
		}
	}
	return fmt.Errorf("%s: %w", call, err)
}

// Available returns why no GPU can be used here, or nil.
func Available() error {
	switch s := C.scu_driver_status(); s {
	case 0:
		return nil
	case -1:
		return fmt.Errorf("NVIDIA's driver isn't installed (%s)", C.GoString(C.scu_driver_error()))
	default:
		return fmt.Errorf("NVIDIA's driver doesn't start: %w", Error{Call: "cuInit", Code: int(s)})
	}
}

// Version returns the newest CUDA version that the driver supports, as 12.4 is 12040.
func Version() int { return cu.Version() }

// Count returns how many GPUs the process sees.
func Count() (int, error) {
	if err := Available(); err != nil {
		return 0, err
	}
	n, err := cu.NumDevices()
	return n, of("cuDeviceGetCount", err)
}

// About is what is known of a GPU without a context on it.
type About struct {
	Name   string
	UUID   string // as NVML writes it: "GPU-" or, of a slice of one, "MIG-" and 32 hexadecimal digits in groups; "" if unknown
	Memory int64  // in bytes
}

// Describe returns what is known of the GPU with this number.
func Describe(ordinal int) (a About, err error) {
	d, err := cu.GetDevice(ordinal)
	if err != nil {
		return a, of("cuDeviceGet", err)
	}
	if a.Name, err = d.Name(); err != nil {
		return a, of("cuDeviceGetName", err)
	}
	if a.Memory, err = d.TotalMem(); err != nil {
		return a, of("cuDeviceTotalMem", err)
	}
	var id [16]byte
	if C.uuid(C.CUdevice(d), (*C.CUuuid)(unsafe.Pointer(&id))) == 0 && id != [16]byte{} {
		kind := "GPU"
		if strings.Contains(a.Name, " MIG ") {
			kind = "MIG"
		}
		a.UUID = fmt.Sprintf("%s-%x-%x-%x-%x-%x", kind, id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	}
	return a, nil
}

// Context is a GPU's primary context and a stream, on which all work of the context is queued.
type Context struct {
	device cu.Device
	ctx    cu.CUContext
	stream cu.Stream
	code   *code
	name   string
	major  int
	minor  int
	cores  int
}

// Open makes the context of the GPU with this number.
func Open(ordinal int) (*Context, error) {
	n, err := Count()
	if err != nil {
		return nil, err
	}
	if ordinal < 0 || ordinal >= n {
		return nil, fmt.Errorf("GPU %d doesn't exist: the process sees %d", ordinal, n)
	}
	c := &Context{}
	if c.device, err = cu.GetDevice(ordinal); err != nil {
		return nil, of("cuDeviceGet", err)
	}
	if c.name, err = c.device.Name(); err != nil {
		return nil, of("cuDeviceGetName", err)
	}
	if c.major, c.minor, err = c.device.ComputeCapability(); err != nil {
		return nil, of("cuDeviceGetAttribute", err)
	}
	if c.cores, err = c.device.Attribute(cu.MultiprocessorCount); err != nil {
		return nil, of("cuDeviceGetAttribute", err)
	}
	if err = c.retain(); err != nil {
		return nil, err
	}
	err = c.on(func() (err error) {
		if c.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
			return of("cuStreamCreate", err)
		}
		return nil
	})
	if err == nil {
		err = check("cuMemPoolSetAttribute", C.keep(c.c(), C.CUdevice(c.device)))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// on runs f on a thread with the context current.
func (c *Context) on(f func() error) error {
	if err := c.Current(); err != nil {
		return err
	}
	defer c.Release()
	return f()
}

// Current makes the context current on this goroutine's thread, which stays its own until Release.
func (c *Context) Current() error {
	runtime.LockOSThread()
	if err := cu.SetCurrentContext(c.ctx); err != nil {
		runtime.UnlockOSThread()
		return of("cuCtxSetCurrent", err)
	}
	return nil
}

// Release ends what Current began.
func (c *Context) Release() { runtime.UnlockOSThread() }

// cu's handles are structures around the driver's.
func (c *Context) c() C.CUcontext { return *(*C.CUcontext)(unsafe.Pointer(&c.ctx)) }
func (c *Context) s() C.CUstream  { return *(*C.CUstream)(unsafe.Pointer(&c.stream)) }

// Close waits for queued work and gives the context back. Memory is freed before.
func (c *Context) Close() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if c.stream != (cu.Stream{}) {
		keep(c.Wait())
		keep(check("cuMemPoolTrimTo", C.trim(c.c(), C.CUdevice(c.device))))
		keep(c.on(func() error { return of("cuStreamDestroy", c.stream.Destroy()) }))
	}
	keep(c.release())
	return first
}

// Name is the GPU's, as its maker calls it.
func (c *Context) Name() string { return c.name }

// Capability returns the compute capability: 9, 0 for Hopper.
func (c *Context) Capability() (major, minor int) { return c.major, c.minor }

// Multiprocessors is how many there are.
func (c *Context) Multiprocessors() int { return c.cores }

// Context and Stream are the driver's handles, for libraries that take them.
func (c *Context) Context() unsafe.Pointer { return unsafe.Pointer(c.c()) }
func (c *Context) Stream() unsafe.Pointer  { return unsafe.Pointer(c.s()) }

// Memory returns the GPU's free and total memory in bytes. What the process freed and keeps for itself is free.
func (c *Context) Memory() (available, total int64, err error) {
	var a, t C.size_t
	err = check("cuMemGetInfo", C.memory(c.c(), C.CUdevice(c.device), &a, &t))
	return int64(a), int64(t), err
}

// Pointer is an address in a GPU's memory.
type Pointer uint64

// Alloc returns n bytes that hold anything.
func (c *Context) Alloc(n int) (Pointer, error) {
	var p C.CUdeviceptr
	err := check("cuMemAllocAsync", C.alloc(c.c(), c.s(), &p, C.size_t(n)))
	return Pointer(p), err
}

// Free gives memory back once the work queued so far is done.
func (c *Context) Free(p Pointer) error {
	return check("cuMemFreeAsync", C.release(c.c(), c.s(), C.CUdeviceptr(p)))
}

// Zero clears n bytes.
func (c *Context) Zero(p Pointer, n int) error {
	return check("cuMemsetD8Async", C.zero(c.c(), c.s(), C.CUdeviceptr(p), C.size_t(n)))
}

// CopyIn queues a copy of host memory; pinned memory must stay as it is until the copy is done, other
// memory is copied before CopyIn returns.
func (c *Context) CopyIn(dst Pointer, src []byte) error {
	return check("cuMemcpyHtoDAsync", C.copy_in(c.c(), c.s(), C.CUdeviceptr(dst), unsafe.Pointer(unsafe.SliceData(src)), C.size_t(len(src))))
}

// CopyOut waits for queued work and copies to host memory.
func (c *Context) CopyOut(dst []byte, src Pointer) error {
	return check("cuMemcpyDtoHAsync", C.copy_out(c.c(), c.s(), unsafe.Pointer(unsafe.SliceData(dst)), C.CUdeviceptr(src), C.size_t(len(dst))))
}

// Event is a point in the stream.
type Event struct{ e C.CUevent }

// MakeEvent makes one that isn't in the stream yet.
func (c *Context) MakeEvent() (e Event, err error) {
	err = check("cuEventCreate", C.make_event(c.c(), &e.e, C.CU_EVENT_DISABLE_TIMING))
	return e, err
}

// MakeTimer makes an event that knows when the stream came to it.
func (c *Context) MakeTimer() (e Event, err error) {
	err = check("cuEventCreate", C.make_event(c.c(), &e.e, C.CU_EVENT_DEFAULT))
	return e, err
}

// Elapsed waits for a timer and returns how long the stream took to it from an earlier one, in milliseconds.
func (c *Context) Elapsed(from, to Event) (ms float32, err error) {
	if err = c.WaitFor(to); err == nil {
		err = check("cuEventElapsedTime", C.elapsed(c.c(), (*C.float)(&ms), from.e, to.e))
	}
	return ms, err
}

// DestroyEvent frees it.
func (c *Context) DestroyEvent(e Event) error {
	return check("cuEventDestroy", C.destroy_event(c.c(), e.e))
}

// Record puts it behind the work queued so far.
func (c *Context) Record(e Event) error { return check("cuEventRecord", C.record(c.c(), c.s(), e.e)) }

// WaitFor waits until the stream has come to where it was recorded.
func (c *Context) WaitFor(e Event) error {
	return check("cuEventSynchronize", C.wait_for(c.c(), e.e))
}

// Wait waits for all queued work and returns the first error that any of it had.
func (c *Context) Wait() error { return c.waitOn(c.s()) }

func (c *Context) waitOn(s C.CUstream) error { return check("cuStreamSynchronize", C.wait(c.c(), s)) }

// Pin allocates host memory that the GPU reads without a copy by the host.
func (c *Context) Pin(n int) ([]byte, error) {
	var p unsafe.Pointer
	if err := check("cuMemHostAlloc", C.pin(c.c(), &p, C.size_t(n))); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// Unpin frees memory that Pin gave.
func (c *Context) Unpin(b []byte) error {
	return check("cuMemFreeHost", C.unpin(c.c(), unsafe.Pointer(unsafe.SliceData(b))))
}

// Launch queues a kernel whose one parameter is the structure args. Its blocks form clusters of so many, 0 and 1 for
// none. One that is early may start before the work ahead of it is done, for which it waits itself.
func (c *Context) Launch(f Function, grid [3]int, threads, shared, cluster int, early bool, args []byte) error {
	flag := C.int(0)
	if early {
		flag = 1
	}
	return check("cuLaunchKernel", C.launch(c.c(), c.s(), f.f, C.uint(grid[0]), C.uint(grid[1]), C.uint(grid[2]),
		C.uint(threads), C.uint(shared), C.uint(cluster), flag, unsafe.Pointer(unsafe.SliceData(args)), C.size_t(len(args))))
}

// Elements of a tensor map.
const (
	TensorF16  = C.CU_TENSOR_MAP_DATA_TYPE_FLOAT16
	TensorBF16 = C.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
)

// TensorMap makes the 128 bytes by which Hopper's copy engine finds boxes of a tensor of four dimensions, of
// 16-bit elements: strides are in bytes, from the second dimension on. Boxes are swizzled by 128 bytes, and
// zero outside the tensor.
func (c *Context) TensorMap(elements int, at Pointer, dims [4]uint64, strides [3]uint64, box [4]uint32) (m [128]byte, err error) {
	r := C.tensor_map(c.c(), unsafe.Pointer(&m[0]), C.int(elements), C.CUdeviceptr(at),
		(*C.cuuint64_t)(unsafe.Pointer(&dims[0])), (*C.cuuint64_t)(unsafe.Pointer(&strides[0])), (*C.cuuint32_t)(unsafe.Pointer(&box[0])))
	err = check("cuTensorMapEncodeTiled", r)
	return m, err
}
