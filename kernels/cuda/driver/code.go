//go:build cuda && cgo && linux

package driver

/*
#include <cuda.h>

static CUresult unload(CUcontext ctx, CUmodule m) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuModuleUnload(m);
}
static CUresult allow_shared(CUcontext ctx, CUfunction f, int bytes) {
  CUresult r = cuCtxSetCurrent(ctx);
  if (!r) r = cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
  return r ? r : cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100);
}
static CUresult no_stack(CUcontext ctx) {
  CUresult r = cuCtxSetCurrent(ctx);
  return r ? r : cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 0);
}
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// code is what is loaded on one GPU, for all contexts here on it: they are one to the driver. It is unloaded when the
// last of them is closed, and not with each: the driver keeps some 40 KiB of the host's memory for every module that
// was ever loaded.
type code struct {
	contexts int
	modules  map[string]cu.Module
	shared   map[C.CUfunction]int // dynamic shared memory that a kernel may have, where it was asked for
}

var loaded = struct {
	sync.Mutex
	on map[cu.Device]*code
}{on: map[cu.Device]*code{}}

// retain makes the GPU's context, or counts one more that has it. The driver reserves a stack for every thread that the
// GPU could run at once, 1 KiB each and 264 MiB on an H100, and enlarges it for a kernel that needs more: it begins with none.
func (c *Context) retain() (err error) {
	loaded.Lock()
	defer loaded.Unlock()
	if c.ctx, err = c.device.RetainPrimaryCtx(); err != nil {
		return of("cuDevicePrimaryCtxRetain", err)
	}
	if loaded.on[c.device] == nil {
		if err := check("cuCtxSetLimit", C.no_stack(c.c())); err != nil {
			return errors.Join(err, of("cuDevicePrimaryCtxRelease", c.device.ReleasePrimaryCtx()))
		}
		loaded.on[c.device] = &code{modules: map[string]cu.Module{}, shared: map[C.CUfunction]int{}}
	}
	c.code = loaded.on[c.device]
	c.code.contexts++
	return nil
}

// release gives the context back; the last one unloads the code.
func (c *Context) release() error {
	loaded.Lock()
	defer loaded.Unlock()
	var errs []error
	if c.code.contexts--; c.code.contexts == 0 {
		for _, m := range c.code.modules {
			errs = append(errs, check("cuModuleUnload", C.unload(c.c(), *(*C.CUmodule)(unsafe.Pointer(&m)))))
		}
		delete(loaded.on, c.device)
	}
	return errors.Join(append(errs, of("cuDevicePrimaryCtxRelease", c.device.ReleasePrimaryCtx()))...)
}

// Function is a kernel.
type Function struct{ f C.CUfunction }

// Function finds a kernel of a module by their names. The first call for a module loads what image returns: a cubin or,
// with a terminating zero added, PTX, which the driver compiles.
func (c *Context) Function(module, name string, image func() ([]byte, error)) (f Function, err error) {
	loaded.Lock()
	defer loaded.Unlock()
	err = c.on(func() error {
		m, ok := c.code.modules[module]
		if !ok {
			text, err := image()
			if err != nil {
				return err
			}
			if m, err = cu.LoadData(string(text)); err != nil {
				return of("cuModuleLoadData", err)
			}
			c.code.modules[module] = m
		}
		k, err := m.Function(name)
		if err != nil {
			return of("cuModuleGetFunction "+name, err)
		}
		f.f = *(*C.CUfunction)(unsafe.Pointer(&k))
		return nil
	})
	return f, err
}

// AllowShared lets a kernel be launched with up to so many bytes of dynamic shared memory; 48 KiB need no
// asking.
func (c *Context) AllowShared(f Function, bytes int) error {
	loaded.Lock()
	defer loaded.Unlock()
	if bytes <= c.code.shared[f.f] {
		return nil
	}
	if err := check("cuFuncSetAttribute", C.allow_shared(c.c(), f.f, C.int(bytes))); err != nil {
		return err
	}
	c.code.shared[f.f] = bytes
	return nil
}
