package reference

// Views of the caller's buffers, checked once on the way in: a wrong shape or type
// panics here.

import (
	"fmt"
	"slices"

	"github.com/shannon-control/scu/kernels"
)

// mat is a matrix whose buffer is known to hold it.
type mat struct {
	dtype              kernels.DType
	x                  []float64 // from the first element on
	rows, cols, stride int
}

// matrix checks that m lies inside its buffer and, if types are given, is of one.
func matrix(op string, m kernels.Mat, types ...kernels.DType) mat {
	b, ok := m.Buf.(*buffer)
	if !ok {
		panic(fmt.Sprintf("reference: %s: a buffer of another device (%T)", op, m.Buf))
	}
	if len(types) > 0 && !slices.Contains(types, b.dtype) {
		panic(fmt.Sprintf("reference: %s: a matrix of %v, want %v", op, b.dtype, types))
	}
	if m.Rows < 0 || m.Cols < 0 || m.Off < 0 || m.Rows > 1 && m.Stride < m.Cols || m.Rows > 0 && m.Off+(m.Rows-1)*m.Stride+m.Cols > len(b.x) {
		panic(fmt.Sprintf("reference: %s: a %dx%d matrix with stride %d at %d in a buffer of %d %v", op, m.Rows, m.Cols, m.Stride, m.Off, len(b.x), b.dtype))
	}
	return mat{b.dtype, b.x[min(m.Off, len(b.x)):], m.Rows, m.Cols, m.Stride}
}

// acts is a matrix of activations.
func (d *device) acts(op string, m kernels.Mat) mat { return matrix(op, m, d.activations) }

// want checks the shape.
func (m mat) want(op string, rows, cols int) mat {
	if m.rows != rows || m.cols != cols {
		panic(fmt.Sprintf("reference: %s: a %dx%d matrix, want %dx%d", op, m.rows, m.cols, rows, cols))
	}
	return m
}

// row is row i, for reading.
func (m mat) row(i int) []float64 { return m.x[i*m.stride : i*m.stride+m.cols] }

func (m mat) set(i, j int, v float64) { m.x[i*m.stride+j] = round(m.dtype, v) }

// fill sets every element.
func (m mat) fill(f func(i, j int) float64) {
	for i := range m.rows {
		for j := range m.cols {
			m.set(i, j, f(i, j))
		}
	}
}

// scratch is a matrix of activations of the device's own.
func (d *device) scratch(rows, cols int) kernels.Mat {
	return kernels.Matrix(&buffer{dtype: d.activations, x: make([]float64, rows*cols)}, rows, cols)
}

// vector is a flat F32 buffer of n elements, or nil if b is nil.
func vector(op string, b kernels.Buffer, n int) []float64 {
	if b == nil {
		return nil
	}
	return elements(op, b, n, kernels.F32).x
}

// flat is a flat F32 buffer of any length.
func flat(op string, b kernels.Buffer) []float64 { return vector(op, b, b.Len()) }

// integers is a flat I32 buffer of n elements.
func integers(op string, b kernels.Buffer, n int) []int32 {
	return elements(op, b, n, kernels.I32).i32
}

// number is an F64 scalar.
func number(op string, s kernels.Scalar) *float64 {
	b, ok := s.Buf.(*buffer)
	if !ok || b.dtype != kernels.F64 || s.I < 0 || s.I >= len(b.x) {
		panic(fmt.Sprintf("reference: %s: element %d of no F64 buffer that has it", op, s.I))
	}
	return &b.x[s.I]
}

// heads is a kernels.Heads whose buffer is known to hold rows of it.
type heads struct {
	mat
	n, dim, step int
}

func (d *device) heads(op string, h kernels.Heads, rows int) heads {
	b, ok := h.Buf.(*buffer)
	if !ok || b.dtype != d.activations {
		panic(fmt.Sprintf("reference: %s: heads want a buffer of %v of this device", op, d.activations))
	}
	if h.Off < 0 || h.N < 0 || h.Dim < 0 || h.RowStride < 0 || h.HeadStride < 0 || rows > 0 && h.N > 0 && h.Off+(rows-1)*h.RowStride+(h.N-1)*h.HeadStride+h.Dim > len(b.x) {
		panic(fmt.Sprintf("reference: %s: %d rows of %d heads of %d, strides %d and %d, at %d in a buffer of %d elements", op, rows, h.N, h.Dim, h.RowStride, h.HeadStride, h.Off, len(b.x)))
	}
	return heads{mat{b.dtype, b.x[min(h.Off, len(b.x)):], rows, h.N * h.HeadStride, h.RowStride}, h.N, h.Dim, h.HeadStride}
}

// at is head h of row r, for reading.
func (h heads) at(r, head int) []float64 {
	o := r*h.stride + head*h.step
	return h.x[o : o+h.dim]
}

// put sets head h of row r.
func (h heads) put(r, head int, v []float64) {
	for i := range h.dim {
		h.set(r, head*h.step+i, v[i])
	}
}

func dot(a, b []float64) (sum float64) {
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}
