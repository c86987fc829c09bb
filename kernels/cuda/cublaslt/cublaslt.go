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

// Find opens the library, once, and returns its path.
var Find = sync.OnceValues(func() (string, error) {
	paths := places()
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

// places are the loader's own paths, then CUDA's and PyTorch's.
func places() (paths []string) {
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

// Handle makes products on a context's stream.
type Handle struct {
	ctx       *driver.Context
	h         unsafe.Pointer
	workspace driver.Pointer
	plans     map[Shape]*C.lt_plan // nil: the library has no algorithm for it
	choices   *choices
}

// Open opens the library for a context. Algorithms that are chosen are kept in folder, if there is one.
func Open(ctx *driver.Context, folder string) (*Handle, error) {
	if _, err := Find(); err != nil {
		return nil, err
	}
	h := &Handle{ctx: ctx, plans: map[Shape]*C.lt_plan{}}
	h.choices = openChoices(folder, fmt.Sprintf("cuBLASLt %d on %s", h.Version(), ctx.Name()))
	if err := ctx.Current(); err != nil {
		return nil, err
	}
	defer ctx.Release()
	if s := C.lt_create(&h.h); s != 0 {
		return nil, h.notMade(int(s))
	}
	var err error
	if h.workspace, err = ctx.Alloc(Workspace); err != nil {
		C.lt_destroy(h.h)
		return nil, err
	}
	return h, nil
}

// notMade is the failure of cublasLtCreate. One that passes, of memory or of the device, is the driver's: whoever
// takes it for a library that isn't there makes other bytes than the last time.
func (h *Handle) notMade(status int) error {
	const allocFailed = 3
	if status == allocFailed {
		return driver.Error{Call: "cublasLtCreate", Code: driver.OutOfMemory}
	}
	return errors.Join(fmt.Errorf("cublasLtCreate: status %d", status), h.ctx.Wait())
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

// plan finds how a product is made.
func (h *Handle) plan(s Shape, o Operands) (*C.lt_plan, error) {
	if p, ok := h.plans[s]; ok {
		return p, nil
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
	var found [candidates]C.lt_heuristic
	var count C.int
	var p *C.lt_plan
	if err := h.ctx.Current(); err != nil {
		return nil, err
	}
	defer h.ctx.Release()
	if C.lt_plan_make(h.h, &shape, Workspace, C.int(len(found)), &found[0], &count, &p) != 0 {
		p = nil
	}
	if p != nil && count < 1 {
		C.lt_plan_free(p)
		p = nil
	}
	if p != nil {
		algorithm, err := h.choose(s, p, found[:count], o)
		if err != nil {
			C.lt_plan_free(p)
			return nil, err
		}
		C.lt_plan_choose(p, &algorithm)
	}
	h.plans[s] = p
	return p, nil
}

// Operands are a product's matrices and factors: Dst = Alpha op(A) op(B) + Beta From. From is laid out as Dst, and may
// be Dst.
type Operands struct {
	Dst, From, A, B driver.Pointer
	Alpha, Beta     float32
}

// Product queues a product and reports whether the library can make it.
func (h *Handle) Product(s Shape, o Operands) (bool, error) {
	p, err := h.plan(s, o)
	if err != nil || p == nil {
		return err != nil, err
	}
	return true, h.run(s, p, o)
}

func (h *Handle) run(s Shape, p *C.lt_plan, o Operands) error {
	if status := C.lt_run(h.h, h.ctx.Context(), p, C.float(o.Alpha), C.uint64_t(o.B), C.uint64_t(o.A), C.float(o.Beta), C.uint64_t(o.From), C.uint64_t(o.Dst),
		C.uint64_t(h.workspace), Workspace, h.ctx.Stream()); status != 0 {
		return h.failure(s, int(status))
	}
	return nil
}

// failure is that of a product. The library's status doesn't tell a lost device from other faults: the driver does.
func (h *Handle) failure(s Shape, status int) error {
	return errors.Join(fmt.Errorf("cublasLtMatmul of %dx%dx%d: status %d", s.M, s.N, s.K, status), h.ctx.Wait())
}
