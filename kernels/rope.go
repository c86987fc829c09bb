package kernels

// RoPE rotates pairs of the first 2*Half elements of each head in place: element
// i with element i+Half (rotate-half, as Llama and GPT-NeoX do; RoFormer,
// arXiv:2104.09864). Row r is at position Positions[r] (I32 [Rows]), or, if
// Positions is nil, at Start + r mod Len. Cos and Sin are F32 tables
// [positions, Half]. Inverse rotates back, which is the gradient.
type RoPE struct {
	X         Heads
	Rows, Len int
	Start     int
	Positions Buffer
	Half      int
	Cos, Sin  Buffer
	Inverse   bool
}
