package devicetest

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// operandTypes are what a product's operands and result may be, see
// kernels.MatMul; act stands for the device's activations.
type operandTypes struct{ a, b, dst kernels.DType }

const act kernels.DType = 255

// matMul goes through every combination of types and transposes, and of the ways
// that alpha, beta and the bias are used in training.
func matMul(e *env) {
	var types []operandTypes
	for _, b := range append([]kernels.DType{act}, weightTypes...) {
		types = append(types, operandTypes{act, b, act}, operandTypes{act, b, kernels.F32})
	}
	types = append(types, operandTypes{kernels.F32, kernels.F32, kernels.F32})
	if e.d.Activations() == kernels.F32 { // the rest is the same again
		types = nil
		for _, b := range weightTypes {
			types = append(types, operandTypes{act, b, act})
		}
	}
	for _, s := range []struct{ m, n, k int }{
		{1, 1, 1}, {1, 5, 3}, {2, 16, 8}, {3, 17, 33}, {5, 1, 9}, {9, 48, 1}, {31, 33, 65}, {64, 16, 130}, {70, 50, 200}, {150, 130, 160}, {200, 328, 136},
	} {
		for _, l := range layouts {
			for i, t := range types {
				for trans := range 4 {
					if s.m > 100 && trans != i%4 {
						continue // of the largest, each type and each transpose once
					}
					product(e, s.m, s.n, s.k, l, t, trans&1 != 0, trans&2 != 0)
				}
				e.free()
			}
		}
	}
}

// operand is a matrix for reading: activations, F32 or frozen weights.
func (e *env) operand(t kernels.DType, name string, l layout, rows, cols int) (m kernels.Mat, x []float64, same *matrix) {
	switch t {
	case act:
		same = e.matrix(name, l, rows, cols, e.normal(rows*cols))
	case kernels.F32:
		same = e.matrixOf(t, name, l, rows, cols, e.single32(rows*cols))
	default:
		m, x = e.weights(t, rows, cols)
		return m, x, nil
	}
	return same.Mat, same.x, same
}

func (e *env) typeOf(t kernels.DType) kernels.DType {
	if t == act {
		return e.d.Activations()
	}
	return t
}

func product(e *env, m, n, k int, l layout, t operandTypes, transA, transB bool) {
	name := fmt.Sprintf("%dx%dx%d %v by %v to %v at %d+%d transA %v transB %v", m, n, k,
		e.typeOf(t.a), e.typeOf(t.b), e.typeOf(t.dst), l.off, l.gap, transA, transB)
	ra, ca, rb, cb := m, k, k, n
	if transA {
		ra, ca = k, m
	}
	if transB {
		rb, cb = n, k
	}
	a, ax, aSame := e.operand(t.a, "A", l, ra, ca)
	b, bx, bSame := e.operand(t.b, "B", l, rb, cb)
	want := make([]float64, m*n)
	for i := range m {
		if e.recording {
			break // the products are not compared
		}
		for j := range n {
			for p := range k {
				ia, ib := i*k+p, p*n+j
				if transA {
					ia = p*m + i
				}
				if transB {
					ib = j*k + p
				}
				want[i*n+j] += ax[ia] * bx[ib]
			}
		}
	}
	tol := 1e-6
	if t.dst == act { // the product may be rounded before Beta Dst is added, and the sum
		tol += 3 * e.unit
	}
	if t.a == act && e.typeOf(t.b) != e.typeOf(act) { // it may be rounded to the activations' type
		tol += 3 * e.unit
	}
	term := largest(want) * 2 // the largest of the products, before something is added
	dstType := e.typeOf(t.dst)
	p := kernels.MatMul{A: a, B: b, TransA: transA, TransB: transB}
	run := func(what string, dst *matrix, want func(i int) float64) {
		p.Dst = dst.Mat
		e.d.MatMul(p)
		e.within("MatMul "+what+name, dst.read(e), each(m*n, want), term, tol)
	}
	values := func() []float64 {
		if dstType == kernels.F32 {
			return e.single32(m * n)
		}
		return e.normal(m * n)
	}

	p.Alpha = 1
	run("", e.dstOf(dstType, "Dst", l, m, n), func(i int) float64 { return want[i] })
	bias := e.single32(n)
	p.Alpha, p.Bias = 0.5, e.vector(bias)
	run("with bias ", e.dstOf(dstType, "Dst", l, m, n), func(i int) float64 { return 0.5*want[i] + bias[i%n] })
	sum := e.matrixOf(dstType, "Dst", l, m, n, values())
	p.Alpha, p.Beta, p.Bias = -2, 1, nil
	run("added ", sum, func(i int) float64 { return sum.x[i] - 2*want[i] })
	sum = e.matrixOf(dstType, "Dst", l, m, n, values())
	p.Alpha, p.Beta, p.Bias = 1, 0.25, e.vector(bias)
	run("with beta and bias ", sum, func(i int) float64 { return 0.25*sum.x[i] + want[i] + bias[i%n] })
	for _, x := range []*matrix{aSame, bSame} {
		if x != nil {
			e.unchanged(x)
		}
	}
}
