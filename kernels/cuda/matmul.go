//go:build cuda && cgo && linux

package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/cublaslt"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// product is dst = alpha op(a) op(b) + beta dst, or + residual if it has one, and + bias on each row.
type product struct {
	dst, a, b      view
	residual       view
	bias           driver.Pointer
	transA, transB bool
	alpha, beta    float32
}

func (g product) depth() int {
	if g.transA {
		return int(g.a.rows)
	}
	return int(g.a.cols)
}

type matMulArgs struct {
	dst, a, b         view
	bias              driver.Pointer
	k, transA, transB int32
	alpha, beta       float32
	_                 int32
}

func (d *device) MatMul(g kernels.MatMul) {
	_, n, _ := g.Sizes("cuda")
	d.allowed(g.A.Buf.DType(), g.B.Buf.DType(), g.Dst.Buf.DType())
	d.product(product{dst: viewOf("MatMul", g.Dst), a: viewOf("MatMul", g.A), b: viewOf("MatMul", g.B), bias: flat("MatMul", g.Bias, kernels.F32, n),
		transA: g.TransA, transB: g.TransB, alpha: g.Alpha, beta: g.Beta})
}

// allowed panics on types that kernels.MatMul doesn't list.
func (d *device) allowed(a, b, dst kernels.DType) {
	act := d.activations
	frozen := b == kernels.F32 || b == kernels.BF16 || b == kernels.F16 || b == kernels.NF4
	if frozen && (a == act && (dst == act || dst == kernels.F32) || a == kernels.F32 && b == kernels.F32 && dst == kernels.F32) {
		return
	}
	panic(fmt.Sprintf("cuda: MatMul of %v by %v into %v with activations of %v", a, b, dst, act))
}

// product makes a product of any types: by cuBLASLt if it is there and can, else on tensor cores by a kernel of
// ours, and what neither takes by the plain one.
func (d *device) product(g product) {
	if g.dst.rows == 0 || g.dst.cols == 0 || d.failed() {
		return
	}
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)
	if d.lt != nil && d.library(g) {
		return
	}
	if r := g.residual; r.data != 0 {
		g.residual = view{}
		d.product(g)
		d.add(g.dst, r, g.dst)
		return
	}
	if d.tiledProduct(g) {
		return
	}
	launch(d, "matmul.matmul", [3]int{ceilDiv(int(g.dst.cols), 64), ceilDiv(int(g.dst.rows), 64), 1}, 256,
		matMulArgs{g.dst, g.a, g.b, g.bias, int32(g.depth()), bit(g.transA), bit(g.transB), g.alpha, g.beta, 0})
}

// library tries cuBLASLt, for operands of one type: another B is converted first, LoRA's F32 weights too.
func (d *device) library(g product) bool {
	if g.depth() == 0 || !aligned(g.dst) || !aligned(g.a) {
		return false
	}
	from, beta := g.dst.at(0, 0), g.beta
	if r := g.residual; r.data != 0 {
		if r.typ != g.dst.typ || r.stride != g.dst.stride || !aligned(r) {
			return false
		}
		from, beta = r.at(0, 0), 1
	}
	if g.b.typ != g.a.typ {
		b := d.matrix(d.types(g.a.typ), int(g.b.rows), (int(g.b.cols)+7)&^7)
		b.cols = g.b.cols
		if d.failed() {
			return true
		}
		d.copyView(b, g.b)
		g.b = b
	}
	if !aligned(g.b) {
		return false
	}
	s := cublaslt.Shape{M: int(g.dst.rows), N: int(g.dst.cols), K: g.depth(),
		StrideA: int(g.a.stride), StrideB: int(g.b.stride), StrideC: int(g.dst.stride),
		TransA: g.transA, TransB: g.transB, Type: d.types(g.a.typ), TypeC: d.types(g.dst.typ)}
	ok, err := d.lt.Product(s, cublaslt.Operands{Dst: g.dst.at(0, 0), From: from, A: g.a.at(0, 0), B: g.b.at(0, 0), Alpha: g.alpha, Beta: beta})
	if err != nil {
		d.fail(err)
		return true
	}
	if ok {
		d.addBias(g.dst, g.bias)
	}
	return ok
}

// aligned reports whether every row begins at a multiple of 16 bytes.
func aligned(v view) bool {
	unit := int64(8)
	if v.typ == 0 {
		unit = 4
	}
	return v.data%16 == 0 && v.off%unit == 0 && v.stride%unit == 0
}

func (d *device) types(t elementType) kernels.DType {
	return []kernels.DType{kernels.F32, kernels.BF16, kernels.F16, kernels.NF4}[t]
}
