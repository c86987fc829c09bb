//go:build cuda && cgo && linux

package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// The structures that kernels take, field by field as view.cuh declares them.

type elementType int32

func typeOf(t kernels.DType) elementType {
	switch t {
	case kernels.F32:
		return 0
	case kernels.BF16:
		return 1
	case kernels.F16:
		return 2
	case kernels.NF4:
		return 3
	}
	panic(fmt.Sprintf("cuda: a matrix of %v", t))
}

// view is a matrix; one without data isn't there.
type view struct {
	data, scales driver.Pointer
	off, stride  int64
	rows, cols   int32
	typ          elementType
	_            int32
}

func (v view) at(i, j int) driver.Pointer {
	return v.data + driver.Pointer((v.off+int64(i)*v.stride+int64(j))*int64([]int{4, 2, 2}[v.typ]))
}

// row returns the address and stride of a matrix of any type but NF4, 0 if there is none. It isn't ok if the stride
// exceeds the 32 bits that kernels count in.
func (v view) row(ok *bool) (at uint64, stride int32) {
	if v.data == 0 {
		return 0, 0
	}
	*ok = *ok && v.stride <= widest
	return uint64(v.at(0, 0)), int32(v.stride)
}

// viewOf checks that a matrix lies within its buffer.
func viewOf(op string, m kernels.Mat) view {
	b := m.Buf.(*buffer)
	if m.Rows < 0 || m.Cols < 0 || m.Off < 0 || m.Rows > widest || m.Cols > widest || m.Stride < m.Cols && m.Rows > 1 ||
		m.Rows > 0 && m.Cols > 0 && m.Off+(m.Rows-1)*m.Stride+m.Cols > b.n {
		panic(fmt.Sprintf("cuda: %s: a %dx%d matrix at %d with stride %d in a buffer of %d", op, m.Rows, m.Cols, m.Off, m.Stride, b.n))
	}
	return view{data: b.at, scales: b.scales, off: int64(m.Off), stride: int64(m.Stride), rows: int32(m.Rows), cols: int32(m.Cols), typ: typeOf(b.dtype)}
}

// shaped is viewOf for a matrix of known size.
func shaped(op string, m kernels.Mat, rows, cols int) view {
	if m.Rows != rows || m.Cols != cols {
		panic(fmt.Sprintf("cuda: %s: a %dx%d matrix, want %dx%d", op, m.Rows, m.Cols, rows, cols))
	}
	return viewOf(op, m)
}

// active is shaped for activations.
func (d *device) active(op string, m kernels.Mat, rows, cols int) view {
	if t := m.Buf.DType(); t != d.activations {
		panic(fmt.Sprintf("cuda: %s: a matrix of %v, want activations, %v", op, t, d.activations))
	}
	return shaped(op, m, rows, cols)
}

// single is shaped for F32.
func single(op string, m kernels.Mat, rows, cols int) view {
	if t := m.Buf.DType(); t != kernels.F32 {
		panic(fmt.Sprintf("cuda: %s: a matrix of %v, want F32", op, t))
	}
	return shaped(op, m, rows, cols)
}

// flat is the address of n elements of type t in a flat buffer, 0 if there is none.
func flat(op string, b kernels.Buffer, t kernels.DType, n int) driver.Pointer {
	if b == nil {
		return 0
	}
	v := b.(*buffer)
	if v.dtype != t || v.n != n {
		panic(fmt.Sprintf("cuda: %s: a buffer of %d %v, want %d %v", op, v.n, v.dtype, n, t))
	}
	return v.at
}

// table is flat for a table of at least n.
func table(op string, b kernels.Buffer, n int) driver.Pointer {
	if b.Len() < n {
		panic(fmt.Sprintf("cuda: %s: a table of %d elements, want %d", op, b.Len(), n))
	}
	return flat(op, b, kernels.F32, b.Len())
}

// scalar is the address of one number.
func scalar(op string, s kernels.Scalar, t kernels.DType) driver.Pointer {
	b := s.Buf.(*buffer)
	if b.dtype != t || s.I < 0 || s.I >= b.n {
		panic(fmt.Sprintf("cuda: %s: element %d of a buffer of %d %v, want %v", op, s.I, b.n, b.dtype, t))
	}
	return b.at + driver.Pointer(8*s.I)
}

// headsView is a [rows, n, dim] view of heads.
type headsView struct {
	data                       driver.Pointer
	off, rowStride, headStride int64
	n, dim                     int32
	typ                        elementType
	_                          int32
}

func headsOf(op string, h kernels.Heads, rows int) headsView {
	b := h.Buf.(*buffer)
	if h.N < 1 || h.Dim < 1 || h.Off < 0 || h.RowStride < 0 || h.HeadStride < 0 ||
		rows > 0 && h.Off+(rows-1)*h.RowStride+(h.N-1)*h.HeadStride+h.Dim > b.n {
		panic(fmt.Sprintf("cuda: %s: %d rows of %d heads of %d at %d with strides %d and %d in a buffer of %d",
			op, rows, h.N, h.Dim, h.Off, h.RowStride, h.HeadStride, b.n))
	}
	return headsView{data: b.at, off: int64(h.Off), rowStride: int64(h.RowStride), headStride: int64(h.HeadStride),
		n: int32(h.N), dim: int32(h.Dim), typ: typeOf(b.dtype)}
}

// start is the first head's first element.
func (h headsView) start() driver.Pointer {
	return h.data + driver.Pointer(h.off*int64([]int{4, 2, 2}[h.typ]))
}

const threads = 256 // of a block that goes over elements

// grid covers a matrix with blocks of threads columns.
func gridOf(v view) [3]int {
	return [3]int{min(ceilDiv(int(v.cols), threads), 1<<16), min(int(v.rows), 1<<15), 1}
}

// line covers n elements.
func line(n int) [3]int { return [3]int{min(ceilDiv(n, threads), 1<<14), 1, 1} }

func bit(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
