package reference

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) LinearCrossEntropy(p kernels.LinearCrossEntropy) {
	const op = "LinearCrossEntropy"
	x, head := d.acts(op, p.X), matrix(op, p.Head)
	head.want(op, head.rows, x.cols)
	bias, losses, targets := vector(op, p.Bias, head.rows), vector(op, p.Losses, x.rows), integers(op, p.Targets, x.rows)
	for i, t := range targets {
		if int(t) >= head.rows {
			panic(fmt.Sprintf("reference: %s: target %d at row %d of a vocabulary of %d", op, t, i, head.rows))
		}
	}
	adapted, graded, scale := p.LoRA.A.Buf != nil, p.DX.Buf != nil, float64(p.LoRA.Scale)
	var u, b, dx, du, db mat
	var gradU kernels.Mat
	if adapted {
		d.lowRank(p.X, p.LoRA, p.Mask)
		u, b = d.acts(op, p.LoRA.U), matrix(op, p.LoRA.B, kernels.F32).want(op, head.rows, p.LoRA.A.Rows)
	}
	var gradScale float64
	if graded {
		dx, gradScale = d.acts(op, p.DX).want(op, x.rows, x.cols), *number(op, p.GradScale)
	}
	if adapted && graded {
		gradU, db = d.scratch(x.rows, u.cols), matrix(op, p.DB, kernels.F32).want(op, head.rows, u.cols)
		du = d.acts(op, gradU)
	}
	logits, slope := make([]float64, head.rows), make([]float64, head.rows)
	for i, target := range targets {
		losses[i] = 0
		grad, low := make([]float64, dx.cols), make([]float64, du.cols)
		if target >= 0 {
			for v := range logits {
				z := dot(x.row(i), head.row(v))
				if adapted {
					z += scale * dot(u.row(i), b.row(v))
				}
				if bias != nil {
					z += bias[v]
				}
				slope[v] = 1
				if top := float64(p.Softcap); top > 0 {
					t := math.Tanh(z / top)
					z, slope[v] = top*t, 1-t*t
				}
				logits[v] = z
			}
			lse := logSumExp(logits)
			losses[i] = round(kernels.F32, lse-logits[target])
			for v, z := range logits {
				if !graded {
					break
				}
				dz := math.Exp(z - lse)
				if v == int(target) {
					dz--
				}
				dz *= slope[v] * gradScale
				for j, w := range head.row(v) {
					grad[j] += dz * w
				}
				for j := range low {
					low[j] += dz * scale * b.row(v)[j]
					db.set(v, j, db.row(v)[j]+dz*scale*u.row(i)[j])
				}
			}
		}
		for j, g := range grad {
			dx.set(i, j, g)
		}
		for j, g := range low {
			du.set(i, j, g)
		}
	}
	if adapted && graded {
		d.lowRankGrad(p.X, p.DX, p.Mask, p.LoRA.A, p.DA, gradU)
	}
}
