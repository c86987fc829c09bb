//go:build cuda && cgo && linux

// Package cublaslt makes matrix products with NVIDIA's cuBLASLt, which is opened when it is found: it
// comes with CUDA and with PyTorch, not with the driver.
package cublaslt

// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "cublaslt.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// Variable is the environment variable that names the library; "none" means that there is none.
const Variable = "SCU_CUBLASLT"

// Workspace is the memory in bytes that products may use.
const Workspace = 32 << 20

// Find opens the library, once, and returns its path.
var Find = sync.OnceValues(func() (string, error) {
	paths := candidates()
	if named := os.Getenv(Variable); named == "none" {
		return "", errors.New("cuBLASLt isn't wanted (" + Variable + "=none)")
	} else if named != "" {
		paths = []string{named}
	}
	var first error
	for _, path := range paths {
		p := C.CString(path)
		why := C.lt_load(p)
		C.free(unsafe.Pointer(p))
		if why == nil {
			return path, nil
		}
		if first == nil {
			first = errors.New(C.GoString(why))
		}
	}
	return "", fmt.Errorf("cuBLASLt wasn't found (%w); install CUDA or PyTorch, or name the library in %s", first, Variable)
})

// candidates are the loader's own paths, then CUDA's and PyTorch's.
func candidates() (paths []string) {
	versions := []string{"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"}
	paths = append(paths, versions...)
	folders := []string{filepath.Join(os.Getenv("CUDA_HOME"), "lib64"), "/usr/local/cuda/lib64", "/usr/local/cuda/targets/*/lib",
		"/usr/local/cuda-*/targets/*/lib"}
	for _, python := range []string{os.Getenv("VIRTUAL_ENV"), os.Getenv("CONDA_PREFIX"), "/usr/local", "/usr", "/opt/*"} {
		if python != "" {
			for _, packages := range []string{"site-packages", "dist-packages"} {
				folders = append(folders, filepath.Join(python, "lib/python3*", packages, "nvidia/cu13/lib"), filepath.Join(python, "lib/python3*", packages, "nvidia/cublas/lib"))
			}
		}
	}
	for _, folder := range folders {
		for _, version := range versions {
			found, _ := filepath.Glob(filepath.Join(folder, version))
			paths = append(paths, found...)
		}
	}
	return paths
}

// Shape is a product dst = alpha op(a) op(b) + beta dst of row-major matrices: op(a) [M,K], op(b) [K,N].
type Shape struct {
	M, N, K                   int
	StrideA, StrideB, StrideC int
	TransA, TransB            bool
	Type, TypeC               kernels.DType // of a and b, and of dst
}

// Handle makes products on a context's stream.
type Handle struct {
	ctx       *driver.Context
	h         unsafe.Pointer
	workspace driver.Pointer
	plans     map[Shape]*C.lt_plan // nil: the library has no algorithm for it
}

// Open opens the library for a context.
func Open(ctx *driver.Context) (*Handle, error) {
	if _, err := Find(); err != nil {
		return nil, err
	}
	h := &Handle{ctx: ctx, plans: map[Shape]*C.lt_plan{}}
	if err := ctx.Current(); err != nil {
		return nil, err
	}
	defer ctx.Release()
	if s := C.lt_create(&h.h); s != 0 {
		return nil, fmt.Errorf("cublasLtCreate: status %d", int(s))
	}
	var err error
	if h.workspace, err = ctx.Alloc(Workspace); err != nil {
		C.lt_destroy(h.h)
		return nil, err
	}
	return h, nil
}

// Version is the library's, as 13.1.0 is 130100.
func (h *Handle) Version() int { return int(C.lt_version()) }

// Close frees the handle, after the work queued so far.
func (h *Handle) Close() error {
	for _, p := range h.plans {
		if p != nil {
			C.lt_plan_free(p)
		}
	}
	err := h.ctx.Wait()
	C.lt_destroy(h.h)
	return errors.Join(err, h.ctx.Free(h.workspace))
}

func typeOf(t kernels.DType) C.int {
	switch t {
	case kernels.BF16:
		return C.LT_R_16BF
	case kernels.F16:
		return C.LT_R_16F
	}
	return C.LT_R_32F
}

// plan finds how a product is made; the same library on the same GPU always finds the same.
func (h *Handle) plan(s Shape) *C.lt_plan {
	if p, ok := h.plans[s]; ok {
		return p
	}
	op := func(trans bool) C.int {
		if trans {
			return 1
		}
		return 0
	}
	// A row-major matrix is the transpose of a column-major one: dst^T = op(b)^T op(a)^T.
	shape := C.lt_shape{trans_a: op(s.TransB), trans_b: op(s.TransA), type_ab: typeOf(s.Type), type_c: typeOf(s.TypeC),
		m: C.uint64_t(s.N), n: C.uint64_t(s.M), k: C.uint64_t(s.K),
		lda: C.int64_t(s.StrideB), ldb: C.int64_t(s.StrideA), ldc: C.int64_t(s.StrideC)}
	var found [1]C.lt_heuristic
	var count C.int
	var p *C.lt_plan
	if h.ctx.Current() == nil {
		if C.lt_plan_make(h.h, &shape, Workspace, C.int(len(found)), &found[0], &count, &p) != 0 {
			p = nil
		}
		h.ctx.Release()
	}
	if p != nil && count < 1 {
		C.lt_plan_free(p)
		p = nil
	}
	if p != nil {
		C.lt_plan_choose(p, &found[0].algorithm)
	}
	h.plans[s] = p
	return p
}

// Product queues a product and reports whether the library can make it.
func (h *Handle) Product(s Shape, dst, a, b driver.Pointer, alpha, beta float32) (bool, error) {
	p := h.plan(s)
	if p == nil {
		return false, nil
	}
	if status := C.lt_run(h.h, h.ctx.Context(), p, C.float(alpha), C.uint64_t(b), C.uint64_t(a), C.float(beta), C.uint64_t(dst),
		C.uint64_t(h.workspace), Workspace, h.ctx.Stream()); status != 0 {
		return true, fmt.Errorf("cublasLtMatmul of %dx%dx%d: status %d", s.M, s.N, s.K, int(status))
	}
	return true, nil
}
