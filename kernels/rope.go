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

// Rotate rotates the heads of q and k, of as many rows: at once if they lie side by side, not at all if Half is 0.
func (r Rotation) Rotate(d Ops, q, k Heads, rows int, inverse bool) {
	if r.Half == 0 {
		return
	}
	op := RoPE{X: q, Rows: rows, Rotation: r, Inverse: inverse}
	beside := q.Buf == k.Buf && q.Off+q.N*q.HeadStride == k.Off && q.RowStride == k.RowStride && q.HeadStride == k.HeadStride
	if beside {
		op.X.N += k.N
	}
	d.RoPE(op)
	if !beside {
		op.X = k
		d.RoPE(op)
	}
}

// RotateBack makes DQ and DK gradients to what was rotated.
func (p AttentionGrad) RotateBack(d Ops) {
	if p.Rotation.Half != 0 && p.QueryLen != p.KeyLen {
		panic(fmt.Sprintf("kernels: AttentionGrad with a Rotation of %d queries and %d keys", p.QueryLen, p.KeyLen))
	}
	p.Rotation.Rotate(d, p.DQ, p.DK, p.Batch*p.QueryLen, true)
}
