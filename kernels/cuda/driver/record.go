//go:build cuda && cgo && linux

package driver

/*
#include <cuda.h>

static CUresult begin_record(CUcontext ctx, CUstream s) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED); // Go may go on on another thread
}
static CUresult end_record(CUcontext ctx, CUstream s, CUgraphExec *made) {
  CUgraph graph = NULL;
  CUresult r = cuCtxSetCurrent(ctx), e = cuStreamEndCapture(s, &graph); // it ends whatever else fails
  if (!r) r = e;
  if (!r) r = cuGraphInstantiateWithFlags(made, graph, 0);
  if (graph) e = cuGraphDestroy(graph);
  return r ? r : e;
}
static CUresult play(CUcontext ctx, CUstream s, CUgraphExec e) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuGraphLaunch(e, s);
}
static CUresult drop(CUcontext ctx, CUgraphExec e) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuGraphExecDestroy(e);
}
*/
import "C"

// Record is work that can be queued again.
type Record struct{ e C.CUgraphExec }

// BeginRecord has what is queued from now on recorded instead of done, up to EndRecord.
func (c *Context) BeginRecord() error {
	return check("cuStreamBeginCapture", C.begin_record(c.c(), c.s()))
}

// EndRecord returns what was queued since BeginRecord, to be dropped even if there was an error.
func (c *Context) EndRecord() (r Record, err error) {
	err = check("cuStreamEndCapture", C.end_record(c.c(), c.s(), &r.e))
	return r, err
}

// Play queues a record.
func (c *Context) Play(r Record) error { return check("cuGraphLaunch", C.play(c.c(), c.s(), r.e)) }

// Drop frees a record, which isn't being played.
func (c *Context) Drop(r Record) error {
	if r.e == nil {
		return nil
	}
	return check("cuGraphExecDestroy", C.drop(c.c(), r.e))
}
