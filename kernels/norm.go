package kernels

// Norm is RMSNorm (arXiv:1910.07467), or LayerNorm (arXiv:1607.06450) if LayerNorm
// is set, over the columns of X.
// Weight and Bias are F32 [cols]; UnitOffset scales by 1 + Weight (Gemma). Weight
// may be nil (scale 1), and Bias. Rstd and, for LayerNorm, Mean (F32 [rows]) are
// kept for the backward pass.
type Norm struct {
	Dst, X       Mat
	Weight, Bias Buffer
	Mean, Rstd   Buffer
	Eps          float32
	UnitOffset   bool
	LayerNorm    bool
}

// AddNorm is a residual connection and the norm after it: X = A + B, rounded to
// X's type, and then the Norm of X. X may be A or B.
type AddNorm struct {
	Norm
	A, B Mat
}

// NormGrad is the gradient of a Norm to its input: DX = ..., or DX += ... if
// Accumulate is set, which is the gradient through AddNorm. Weights are frozen and
// get none. X, Weight, Mean and Rstd as in the forward pass; Dst is not read.
type NormGrad struct {
	Norm
	DX, DY     Mat
	Accumulate bool
}
