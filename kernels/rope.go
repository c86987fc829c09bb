package kernels

import "fmt"

// Rotation tells how pairs of the first 2*Half elements of a head turn: element i with
// element i+Half (rotate-half, as Llama and GPT-NeoX do; RoFormer, arXiv:2104.09864). Row r
// is at position Positions[r] (I32 [rows]), or, if Positions is nil, at Start + r mod Len.
// Cos and Sin are F32 tables [positions, Half].
type Rotation struct {
	Len, Start int
	Positions  Buffer
	Half       int
	Cos, Sin   Buffer
}

// RoPE rotates heads in place. Inverse rotates back, which is the gradient.
type RoPE struct {
	X    Heads
	Rows int
	Rotation
	Inverse bool
}

// Of are the operations that rotate the heads of q and k, of as many rows: one if they lie side by side, none if Half is 0.
func (r Rotation) Of(q, k Heads, rows int, inverse bool) []RoPE {
	if r.Half == 0 {
		return nil
	}
	both := RoPE{X: q, Rows: rows, Rotation: r, Inverse: inverse}
	if q.Buf == k.Buf && q.Off+q.N*q.HeadStride == k.Off && q.RowStride == k.RowStride && q.HeadStride == k.HeadStride {
		both.X.N += k.N
		return []RoPE{both}
	}
	return []RoPE{both, {X: k, Rows: rows, Rotation: r, Inverse: inverse}}
}

// RotateBack are the operations by which DQ and DK become gradients to what was rotated.
func (p AttentionGrad) RotateBack() []RoPE {
	if p.Rotation.Half != 0 && p.QueryLen != p.KeyLen {
		panic(fmt.Sprintf("kernels: AttentionGrad with a Rotation of %d queries and %d keys", p.QueryLen, p.KeyLen))
	}
	return p.Rotation.Of(p.DQ, p.DK, p.Batch*p.QueryLen, true)
}
