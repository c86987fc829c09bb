//go:build cuda && cgo && linux

package driver

/*
#include <cuda.h>

static CUresult make_beside(CUcontext ctx, CUstream *s) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuStreamCreateWithPriority(s, CU_STREAM_NON_BLOCKING, 0);
}
static CUresult end_beside(CUcontext ctx, CUstream s) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuStreamDestroy(s);
}
// The events are all that ties the streams together, so that recording follows from one into the other.
static CUresult copy_beside(CUcontext ctx, CUstream s, CUstream beside, CUevent begin, CUevent end, CUdeviceptr dst, CUdeviceptr src, size_t n) {
  CUresult r = cuCtxSetCurrent(ctx);
  if (!r) r = cuEventRecord(begin, s);
  if (!r) r = cuStreamWaitEvent(beside, begin, 0);
  if (!r) r = cuMemcpyAsync(dst, src, n, beside);
  return r ? r : cuEventRecord(end, beside);
}
static CUresult join(CUcontext ctx, CUstream s, CUevent end) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuStreamWaitEvent(s, end, 0);
}
*/
import "C"

// Beside is a second stream of a context, for copies that go on beside the work of the first.
type Beside struct {
	ctx   *Context
	s     C.CUstream
	begin Event
}

// MakeBeside makes one.
func (c *Context) MakeBeside() (*Beside, error) {
	b := &Beside{ctx: c}
	begin, err := c.MakeEvent()
	if err != nil {
		return nil, err
	}
	b.begin = begin
	if err := check("cuStreamCreateWithPriority", C.make_beside(c.c(), &b.s)); err != nil {
		_ = c.DestroyEvent(begin) // the first error counts
		return nil, err
	}
	return b, nil
}

// Copy queues a copy of n bytes behind what the context has queued so far, and end behind it. One of the addresses is
// of pinned memory, which a GPU knows by the host's address.
func (b *Beside) Copy(dst, src Pointer, n int, end Event) error {
	return check("cuMemcpyAsync", C.copy_beside(b.ctx.c(), b.ctx.s(), b.s, b.begin.e, end.e, C.CUdeviceptr(dst), C.CUdeviceptr(src), C.size_t(n)))
}

// Join has the context's work go on once the copy before end is done.
func (b *Beside) Join(end Event) error {
	return check("cuStreamWaitEvent", C.join(b.ctx.c(), b.ctx.s(), end.e))
}

// Wait waits for all copies.
func (b *Beside) Wait() error { return b.ctx.waitOn(b.s) }

// Close ends the stream, whose copies are done.
func (b *Beside) Close() error {
	err := check("cuStreamDestroy", C.end_beside(b.ctx.c(), b.s))
	if e := b.ctx.DestroyEvent(b.begin); err == nil {
		err = e
	}
	return err
}
