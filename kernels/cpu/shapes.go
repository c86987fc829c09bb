package cpu

// Views of the caller's matrices, checked once on the way in: a wrong shape or
// type panics here, with both sides in the message.

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// mat is a matrix whose buffer is known to hold it.
type mat struct {
	*buffer
	off, rows, cols, stride int
	end                     int // after the last element
}

// matrix checks that m lies inside its buffer.
func matrix(op string, m kernels.Mat) mat {
	b, ok := m.Buf.(*buffer)
	if !ok {
		panic(fmt.Sprintf("cpu: %s: a buffer of another device (%T)", op, m.Buf))
	}
	if m.Rows < 0 || m.Cols < 0 || m.Off < 0 || m.Rows > 1 && m.Stride < m.Cols ||
		m.Rows > 0 && m.Off+(m.Rows-1)*m.Stride+m.Cols > b.n {
		panic(fmt.Sprintf("cpu: %s: a %dx%d matrix with stride %d at %d in a buffer of %d elements",
			op, m.Rows, m.Cols, m.Stride, m.Off, b.n))
	}
	end := m.Off
	if m.Rows > 0 {
		end += (m.Rows-1)*m.Stride + m.Cols
	}
	return mat{b, m.Off, m.Rows, m.Cols, m.Stride, end}
}

// floats is matrix, and the elements must be F32.
func floats(op string, m kernels.Mat) mat {
	v := matrix(op, m)
	if v.dtype != kernels.F32 {
		panic(fmt.Sprintf("cpu: %s: a matrix of %v, want F32", op, v.dtype))
	}
	return v
}

// shaped is floats, and the shape must be rows x cols.
func shaped(op string, m kernels.Mat, rows, cols int) mat {
	v := floats(op, m)
	v.want(op, rows, cols)
	return v
}

// from are the F32 elements from row i on, those between rows included.
func (m mat) from(i int) []float32 { return m.f32[m.off+i*m.stride:] }

func (m mat) want(op string, rows, cols int) {
	if m.rows != rows || m.cols != cols {
		panic(fmt.Sprintf("cpu: %s: a %dx%d matrix, want %dx%d", op, m.rows, m.cols, rows, cols))
	}
}

// row is row i of an F32 matrix; the last one may be short, see flatten.
func (m mat) row(i int) []float32 {
	o := m.off + i*m.stride
	return m.f32[o:min(o+m.cols, m.end)]
}

// dense reports whether the rows follow one another without gaps.
func (m mat) dense() bool { return m.stride == m.cols || m.rows <= 1 }

// vector is a flat F32 buffer of n elements, or nil where b is nil.
func vector(op string, b kernels.Buffer, n int) []float32 {
	if b == nil {
		return nil
	}
	v := b.(*buffer)
	if v.dtype != kernels.F32 || v.n != n {
		panic(fmt.Sprintf("cpu: %s: a vector of %d %v, want %d F32", op, v.n, v.dtype, n))
	}
	return v.f32
}

// flat is a flat F32 buffer of any length.
func flat(op string, b kernels.Buffer) []float32 { return vector(op, b, b.Len()) }

// integers is a flat I32 buffer of n elements.
func integers(op string, b kernels.Buffer, n int) []int32 {
	v := b.(*buffer)
	if v.dtype != kernels.I32 || v.n != n {
		panic(fmt.Sprintf("cpu: %s: a vector of %d %v, want %d I32", op, v.n, v.dtype, n))
	}
	return v.i32
}

// double is an F64 scalar.
func double(op string, s kernels.Scalar) *float64 {
	b := s.Buf.(*buffer)
	if b.dtype != kernels.F64 || s.I < 0 || s.I >= b.n {
		panic(fmt.Sprintf("cpu: %s: element %d of %d %v, want F64", op, s.I, b.n, b.dtype))
	}
	return &b.f64[s.I]
}

// heads is a kernels.Heads whose buffer is known to hold rows of it.
type heads struct {
	f                []float32
	n, dim           int
	rowStride, hStep int
}

func headsOf(op string, h kernels.Heads, rows int) heads {
	b, ok := h.Buf.(*buffer)
	if !ok || b.dtype != kernels.F32 {
		panic(fmt.Sprintf("cpu: %s: heads want an F32 buffer of this device", op))
	}
	if h.Off < 0 || h.N < 0 || h.Dim < 0 || h.RowStride < 0 || h.HeadStride < 0 ||
		rows > 0 && h.N > 0 && h.Off+(rows-1)*h.RowStride+(h.N-1)*h.HeadStride+h.Dim > b.n {
		panic(fmt.Sprintf("cpu: %s: %d rows of %d heads of %d, strides %d and %d, at %d in a buffer of %d elements",
			op, rows, h.N, h.Dim, h.RowStride, h.HeadStride, h.Off, b.n))
	}
	return heads{b.f32[h.Off:], h.N, h.Dim, h.RowStride, h.HeadStride}
}

// at is head h of row r.
func (h heads) at(r, head int) []float32 {
	o := r*h.rowStride + head*h.hStep
	return h.f[o : o+h.dim : o+h.dim]
}

// part is the elements [lo, hi) of row i.
func (m mat) part(i, lo, hi int) []float32 {
	row := m.row(i)
	return row[lo:min(hi, len(row))]
}
