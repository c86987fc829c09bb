package reference

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) MatMul(g kernels.MatMul) {
	const op = "MatMul"
	a, b, dst := matrix(op, g.A), matrix(op, g.B), matrix(op, g.Dst)
	f32 := a.dtype == kernels.F32 && b.dtype == kernels.F32 && dst.dtype == kernels.F32
	if !f32 && (a.dtype != d.activations || b.dtype == kernels.F64 || dst.dtype != d.activations && dst.dtype != kernels.F32) {
		panic(fmt.Sprintf("reference: MatMul of %v by %v into %v, with activations of %v", a.dtype, b.dtype, dst.dtype, d.activations))
	}
	left, right := rows(a, g.TransA), rows(b, !g.TransB) // [m][k], [n][k]
	if k, kb := a.terms(g.TransA), b.terms(!g.TransB); k != kb {
		panic(fmt.Sprintf("reference: MatMul over %d and %d terms", k, kb))
	}
	dst.want(op, len(left), len(right))
	bias := vector(op, g.Bias, len(right))
	dst.fill(func(i, j int) float64 {
		sum := float64(g.Alpha) * dot(left[i], right[j])
		if bias != nil {
			sum += bias[j]
		}
		if g.Beta != 0 { // with 0 Dst may hold anything, even NaN
			sum += float64(g.Beta) * dst.row(i)[j]
		}
		return sum
	})
}

// terms is the length of the rows, or of the columns.
func (m mat) terms(transpose bool) int {
	if transpose {
		return m.rows
	}
	return m.cols
}

// rows are a matrix's, or its transpose's.
func rows(m mat, transpose bool) [][]float64 {
	if !transpose {
		out := make([][]float64, m.rows)
		for i := range out {
			out[i] = m.row(i)
		}
		return out
	}
	out := make([][]float64, m.cols)
	for j := range out {
		out[j] = make([]float64, m.rows)
		for i := range m.rows {
			out[j][i] = m.row(i)[j]
		}
	}
	return out
}
