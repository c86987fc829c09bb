package reference

import "github.com/shannon-control/scu/kernels"

func (d *device) Linear(p kernels.Linear) {
	for _, l := range p.Parts {
		d.MatMul(kernels.MatMul{Dst: l.Dst, A: p.X, B: l.W, TransB: !l.Conv1D, Alpha: 1, Bias: l.Bias})
		if l.LoRA.A.Buf != nil {
			d.lowRank(p.X, l.LoRA, p.Mask)
			d.MatMul(kernels.MatMul{Dst: l.Dst, A: l.LoRA.U, B: l.LoRA.B, TransB: true, Alpha: l.LoRA.Scale, Beta: 1})
		}
		if l.Residual.Buf != nil {
			d.Add(l.Dst, l.Residual, l.Dst)
		}
	}
}

func (d *device) LinearGrad(p kernels.LinearGrad) {
	p.Again(d)
	for i, l := range p.Parts {
		if p.DX.Buf != nil {
			beta := float32(0)
			if p.Accumulate || i > 0 {
				beta = 1
			}
			d.MatMul(kernels.MatMul{Dst: p.DX, A: l.DY, B: l.W, TransB: l.Conv1D, Alpha: 1, Beta: beta})
		}
		if l.LoRA.A.Buf != nil {
			du := d.scratch(p.X.Rows, l.LoRA.A.Rows)
			d.MatMul(kernels.MatMul{Dst: l.DB, A: l.DY, B: l.LoRA.U, TransA: true, Alpha: l.LoRA.Scale, Beta: 1})
			d.MatMul(kernels.MatMul{Dst: du, A: l.DY, B: l.LoRA.B, Alpha: l.LoRA.Scale})
			d.lowRankGrad(p.X, p.DX, p.Mask, l.LoRA.A, l.DA, du)
		}
	}
}

// lowRank sets U = drop(x) A^T.
func (d *device) lowRank(x kernels.Mat, l kernels.LoRA, m kernels.Mask) {
	d.MatMul(kernels.MatMul{Dst: l.U, A: d.dropped(x, m), B: l.A, TransB: true, Alpha: 1})
}

// dropped is x behind the mask.
func (d *device) dropped(x kernels.Mat, m kernels.Mask) kernels.Mat {
	t := d.scratch(x.Rows, x.Cols)
	d.Dropout(kernels.Dropout{Dst: t, Src: x, Mask: m})
	return t
}

// lowRankGrad is the backward pass of lowRank: DA += DU^T drop(X) and, if DX has a
// buffer, DX += drop(DU A).
func (d *device) lowRankGrad(x, dx kernels.Mat, m kernels.Mask, a, da, du kernels.Mat) {
	d.MatMul(kernels.MatMul{Dst: da, A: du, B: d.dropped(x, m), TransA: true, Alpha: 1, Beta: 1})
	switch {
	case dx.Buf == nil:
	case m.P == 0:
		d.MatMul(kernels.MatMul{Dst: dx, A: du, B: a, Alpha: 1, Beta: 1})
	default:
		t := d.scratch(dx.Rows, dx.Cols)
		d.MatMul(kernels.MatMul{Dst: t, A: du, B: a, Alpha: 1})
		d.Dropout(kernels.Dropout{Dst: dx, Src: t, Mask: m, Add: true})
	}
}
