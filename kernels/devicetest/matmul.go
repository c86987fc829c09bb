package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

// matMul goes through every combination of transposes, weight types and of the
// ways that alpha, beta and the bias are used in training.
func matMul(e *env) {
	for _, s := range []struct{ m, n, k int }{
		{1, 1, 1}, {1, 5, 3}, {2, 16, 8}, {3, 17, 33}, {5, 1, 9}, {9, 48, 1}, {31, 33, 65}, {64, 16, 130}, {70, 50, 200}, {150, 130, 160},
	} {
		for _, l := range layouts {
			for i, b := range weightTypes {
				for trans := range 4 {
					if s.m > 100 && trans != i {
						continue // of the largest, each type and each transpose once
					}
					product(e, s.m, s.n, s.k, l, b, trans&1 != 0, trans&2 != 0)
				}
				e.free()
			}
		}
	}
}

func product(e *env, m, n, k int, l layout, weights kernels.DType, transA, transB bool) {
	name := fmt.Sprintf("%dx%dx%d %v at %d+%d transA %v transB %v", m, n, k, weights, l.off, l.gap, transA, transB)
	ra, ca, rb, cb := m, k, k, n
	if transA {
		ra, ca = k, m
	}
	if transB {
		rb, cb = n, k
	}
	a := e.matrix("A", l, ra, ca, e.normal(m*k))
	w, wx := e.weights(weights, rb, cb)
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
				want[i*n+j] += a.x[ia] * wx[ib]
			}
		}
	}
	const tol = 1e-6
	var term float64 // the largest of the products, before something is added
	for _, v := range want {
		term = max(term, 2*math.Abs(v))
	}

	dst := e.dst("Dst", l, m, n)
	e.d.MatMul(kernels.MatMul{Dst: dst.Mat, A: a.Mat, B: w, TransA: transA, TransB: transB, Alpha: 1})
	e.check("MatMul "+name, dst.read(e), want, tol)

	bias := e.normal(n)
	dst = e.dst("Dst", l, m, n)
	e.d.MatMul(kernels.MatMul{Dst: dst.Mat, A: a.Mat, B: w, TransA: transA, TransB: transB, Alpha: 0.5, Bias: e.vector(bias)})
	e.checkTerms("MatMul with bias "+name, dst.read(e), each(m*n, func(i int) float64 { return 0.5*want[i] + bias[i%n] }), term, tol)

	sum := e.matrix("Dst", l, m, n, e.normal(m*n))
	e.d.MatMul(kernels.MatMul{Dst: sum.Mat, A: a.Mat, B: w, TransA: transA, TransB: transB, Alpha: -2, Beta: 1})
	e.checkTerms("MatMul added "+name, sum.read(e), each(m*n, func(i int) float64 { return sum.x[i] - 2*want[i] }), term, tol)

	sum = e.matrix("Dst", l, m, n, sum.x)
	e.d.MatMul(kernels.MatMul{Dst: sum.Mat, A: a.Mat, B: w, TransA: transA, TransB: transB, Alpha: 1, Beta: 0.25, Bias: e.vector(bias)})
	e.checkTerms("MatMul with beta and bias "+name, sum.read(e), each(m*n, func(i int) float64 { return 0.25*sum.x[i] + want[i] + bias[i%n] }), term, tol)
	e.unchanged(a)
}
