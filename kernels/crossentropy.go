package kernels

// LinearCrossEntropy is the output head and the loss in one: logits =
// X Head^T + Bias, soft-capped if Softcap > 0; Losses[i] = -log
// softmax(logits_i)[Targets[i]] in nats, 0 where Targets[i] < 0. If DX has a
// buffer, DX = GradScale d(sum of Losses)/dX. Logits exist a chunk at a time,
// never rows x vocabulary, in F32 or rounded to activations.
// X [rows,D] activations, Head frozen [V,D], Bias F32 [V] or nil, Targets I32,
// Losses F32 [rows], GradScale F64, read only with DX.
//
// With an adapter the logits grow by its share (see Linear), and with DX the same
// gradient goes to its weights: DA += ..., DB += ..., F32.
type LinearCrossEntropy struct {
	X, Head         Mat
	Bias            Buffer
	LoRA            LoRA
	Mask            Mask
	Targets, Losses Buffer
	DX, DA, DB      Mat
	GradScale       Scalar
	Softcap         float32
	Room            Buffer // activations that logits may lie in, nil for none; what it holds afterwards doesn't matter
	Below           int    // how many rows of zeros lie below Head, which the device may take in
}
