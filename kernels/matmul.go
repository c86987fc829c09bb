package kernels

import "fmt"

// MatMul is Dst = Alpha op(A) op(B) + Beta Dst, and + Bias on each row if there is
// one. op transposes where asked.
// Sizes after op: A [m,k], B [k,n], Dst [m,n], Bias [n] (F32).
//
// The types that it takes, everything else panics (act: activations):
//
//	A    B                   Dst
//	act  frozen, any type    act    a layer, and its gradient to the input
//	act  frozen, any type    F32    logits
//	act  act                 act
//	act  act                 F32    gradients of LoRA's weights
//	act  F32                 act    LoRA's weights against activations
//	act  F32                 F32
//	F32  F32                 F32    LoRA's weights against each other
type MatMul struct {
	Dst, A, B      Mat
	TransA, TransB bool
	Alpha, Beta    float32
	Bias           Buffer
}

// Sizes returns m, n and k; it panics in the device's name if the matrices' shapes disagree.
func (g MatMul) Sizes(device string) (m, n, k int) {
	m, k = g.A.Rows, g.A.Cols
	if g.TransA {
		m, k = k, m
	}
	kb, n := g.B.Rows, g.B.Cols
	if g.TransB {
		kb, n = n, kb
	}
	if k != kb || g.Dst.Rows != m || g.Dst.Cols != n {
		panic(fmt.Sprintf("%s: MatMul of %dx%d by %dx%d into %dx%d", device, m, k, kb, n, g.Dst.Rows, g.Dst.Cols))
	}
	return m, n, k
}
