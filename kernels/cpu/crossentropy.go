package cpu

// The output head and the loss. Logits exist for a chunk of rows at a time, all
// of their vocabulary, and turn into their gradient in place.

import (
	"fmt"
	"math"

	"scu/kernels"
)

// logitsBytes is how much memory logits may take, unless 16 rows need more. Each
// chunk of rows packs the whole head, so that small chunks would cost time; more
// rows than logitsMost gain nothing.
const (
	logitsBytes = 64 << 20
	logitsMost  = 1024
)

func (d *device) LinearCrossEntropy(p kernels.LinearCrossEntropy) {
	x, head := floats("LinearCrossEntropy", p.X), matrix("LinearCrossEntropy", p.Head)
	vocab := head.rows
	head.want("LinearCrossEntropy", vocab, x.cols)
	bias := vector("LinearCrossEntropy", p.Bias, vocab)
	targets, losses := integers("LinearCrossEntropy", p.Targets, x.rows), vector("LinearCrossEntropy", p.Losses, x.rows)
	var dx mat
	if p.DX.Buf != nil {
		dx = shaped("LinearCrossEntropy", p.DX, x.rows, x.cols)
	}
	for i, t := range targets {
		if int(t) >= vocab {
			panic(fmt.Sprintf("cpu: LinearCrossEntropy: target %d at row %d of a vocabulary of %d", t, i, vocab))
		}
	}
	chunk := logitsRows(x.rows, vocab)
	d.logits = grown(d.logits, chunk*vocab)
	for lo := 0; lo < x.rows; lo += chunk {
		n := min(chunk, x.rows-lo)
		logits := d.logits[:n*vocab]
		d.pool.gemm(gemmArgs{m: n, n: vocab, k: x.cols,
			a: x.f32[x.off+lo*x.stride:], lda: x.stride,
			b: *head.operand(), off: head.off, ldb: head.stride, transB: true,
			c: logits, ldc: vocab, alpha: p.LogitScale, bias: bias})
		d.eachRow(n, vocab, func(s *scratch, i int) {
			losses[lo+i] = d.crossEntropy(s, logits[i*vocab:(i+1)*vocab], targets[lo+i], &p)
		})
		if dx.buffer != nil {
			d.pool.gemm(gemmArgs{m: n, n: x.cols, k: vocab,
				a: logits, lda: vocab,
				b: *head.operand(), off: head.off, ldb: head.stride,
				c: dx.f32[dx.off+lo*dx.stride:], ldc: dx.stride, alpha: 1})
		}
	}
}

// logitsRows is how many rows have their logits computed together: rows cut into
// even chunks.
func logitsRows(rows, vocab int) int {
	most := min(logitsMost, max(16, logitsBytes/(4*vocab)&^15))
	chunks := max(1, ceilDiv(rows, most))
	return min(rows, (ceilDiv(rows, chunks)+15)&^15)
}

// crossEntropy returns a row's loss and, where p wants the gradient, leaves
// GradScale d(loss)/d(X Head^T) in z.
func (d *device) crossEntropy(s *scratch, z []float32, target int32, p *kernels.LinearCrossEntropy) float32 {
	if target < 0 {
		clear(z)
		return 0
	}
	if p.Softcap > 0 {
		d.v.softcap(z, z, p.Softcap)
	}
	hit, top := z[target], d.v.max(z)
	e := z // exp(z - top), in place unless the slope of the cap needs z
	if p.Softcap > 0 {
		e = s.floats(len(z))
	}
	var sum float64
	for lo := 0; lo < len(z); lo += block {
		hi := min(lo+block, len(z))
		sum += float64(d.v.exp(e[lo:hi], z[lo:hi], top))
	}
	loss := float32(math.Log(sum) + float64(top) - float64(hit))
	if p.DX.Buf == nil {
		return loss
	}
	grad := p.GradScale * p.LogitScale
	d.v.scale(e, e, float32(float64(grad)/sum))
	e[target] -= grad
	if p.Softcap > 0 {
		d.v.softcapGrad(e, z, p.Softcap)
		copy(z, e)
	}
	return loss
}
