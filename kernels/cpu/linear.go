package cpu

// Linear layers with their adapters, composed of matrix products.

import "github.com/shannon-control/scu/kernels"

// adapterScratch is memory for the adapters of one operation.
type adapterScratch struct {
	dropped region // the layers' input after dropout; then the gradient to it
	du      region // the gradients to U, one matrix after the other
}

func (s *adapterScratch) free() {
	s.dropped.free()
	s.du.free()
}

// gradU returns a matrix of rows for each rank.
func (s *adapterScratch) gradU(rows int, ranks ...int) (du []kernels.Mat) {
	total := 0
	for _, r := range ranks {
		total += rows * r
	}
	s.du.grow(total)
	for at, i := 0, 0; i < len(ranks); i++ {
		du = append(du, kernels.Matrix(s.du.buffer().Slice(at, rows*ranks[i]), rows, ranks[i]))
		at += rows * ranks[i]
	}
	return du
}

func (d *device) Linear(p kernels.Linear) {
	var dropped kernels.Mat
	for _, l := range p.Parts {
		d.MatMul(kernels.MatMul{Dst: l.Dst, A: p.X, B: l.W, TransB: !l.Conv1D, Alpha: 1, Bias: l.Bias})
		if l.LoRA.A.Buf != nil {
			if dropped.Buf == nil {
				dropped = d.dropped(p.X, p.Mask)
			}
			d.lowRank(dropped, l.LoRA)
			d.MatMul(kernels.MatMul{Dst: l.Dst, A: l.LoRA.U, B: l.LoRA.B, TransB: true, Alpha: l.LoRA.Scale, Beta: 1})
		}
		if l.Residual.Buf != nil {
			d.Add(l.Dst, l.Residual, l.Dst)
		}
	}
}

// dropped is x behind the mask, in scratch memory; x itself if the mask drops
// nothing.
func (d *device) dropped(x kernels.Mat, m kernels.Mask) kernels.Mat {
	if m.P == 0 {
		return x
	}
	t := d.adapters.input(x.Rows, x.Cols)
	d.Dropout(kernels.Dropout{Dst: t, Src: x, Mask: m})
	return t
}

func (s *adapterScratch) input(rows, cols int) kernels.Mat {
	s.dropped.grow(rows * cols)
	return kernels.Matrix(s.dropped.buffer(), rows, cols)
}

// lowRank sets U = x A^T.
func (d *device) lowRank(x kernels.Mat, l kernels.LoRA) {
	d.MatMul(kernels.MatMul{Dst: l.U, A: x, B: l.A, TransB: true, Alpha: 1})
}

// lowRank is the gradient du to one adapter's U, and where it goes.
type lowRank struct{ a, da, du kernels.Mat }

func (d *device) LinearGrad(p kernels.LinearGrad) {
	p.Again(d)
	var ranks []int
	for _, l := range p.Parts {
		if l.LoRA.A.Buf != nil {
			ranks = append(ranks, l.LoRA.A.Rows)
		}
	}
	dus := d.adapters.gradU(p.X.Rows, ranks...)
	var adapters []lowRank
	for i, l := range p.Parts {
		if p.DX.Buf != nil {
			beta := float32(0)
			if p.Accumulate || i > 0 {
				beta = 1
			}
			d.MatMul(kernels.MatMul{Dst: p.DX, A: l.DY, B: l.W, TransB: l.Conv1D, Alpha: 1, Beta: beta})
		}
		if l.LoRA.A.Buf == nil {
			continue
		}
		du := dus[len(adapters)]
		adapters = append(adapters, lowRank{l.LoRA.A, l.DA, du})
		d.MatMul(kernels.MatMul{Dst: l.DB, A: l.DY, B: l.LoRA.U, TransA: true, Alpha: l.LoRA.Scale, Beta: 1})
		d.MatMul(kernels.MatMul{Dst: du, A: l.DY, B: l.LoRA.B, Alpha: l.LoRA.Scale})
		if p.Mask.P == 0 {
			d.lowRankGrad(p.X, p.DX, p.Mask, adapters[len(adapters)-1:])
		}
	}
	if p.Mask.P > 0 {
		d.lowRankGrad(p.X, p.DX, p.Mask, adapters)
	}
}

// lowRankGrad is the backward pass of U = drop(X) A^T: DA += DU^T drop(X) and, if
// dx has a buffer, DX += drop(DU A), summed over the adapters before it is dropped.
func (d *device) lowRankGrad(x, dx kernels.Mat, m kernels.Mask, adapters []lowRank) {
	if len(adapters) == 0 {
		return
	}
	dropped := d.dropped(x, m)
	for _, l := range adapters {
		d.MatMul(kernels.MatMul{Dst: l.da, A: l.du, B: dropped, TransA: true, Alpha: 1, Beta: 1})
	}
	if dx.Buf == nil {
		return
	}
	to, beta := dx, float32(1)
	if m.P > 0 {
		to, beta = d.adapters.input(dx.Rows, dx.Cols), 0
	}
	for _, l := range adapters {
		d.MatMul(kernels.MatMul{Dst: to, A: l.du, B: l.a, Alpha: 1, Beta: beta})
		beta = 1
	}
	if m.P > 0 {
		d.Dropout(kernels.Dropout{Dst: dx, Src: to, Mask: m, Add: true})
	}
}
