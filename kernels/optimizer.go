package kernels

// AdamW is one decoupled-weight-decay Adam step (arXiv:1711.05101) over flat F32
// buffers, the arithmetic of torch.optim.AdamW. The gradient is first scaled by
// min(1, MaxNorm/(sqrt(NormSquared) + 1e-6)), as torch's clip_grad_norm_ does;
// MaxNorm 0 leaves it. If NormSquared isn't finite nothing changes: the weights and
// moments of before stay.
type AdamW struct {
	Param, Grad, M, V Buffer
	NormSquared       Scalar // F64, made by SumSquares
	MaxNorm           float64
	Rates             Buffer // F64 [3]: learning rate, 1 - Beta1^t, 1 - Beta2^t of step t, counted from 1
	Beta1, Beta2, Eps float64
	WeightDecay       float64
}
