package kernels

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
