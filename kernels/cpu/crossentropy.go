package cpu

// The output head and the loss. Logits exist for a chunk of rows at a time, all
// of their vocabulary, and turn into their gradient in place.

import (
	"math"

	"github.com/shannon-control/scu/kernels"
)

// logitsBytes is how much memory logits may take, unless 16 rows need more. Each
// chunk of rows packs the whole head, so that small chunks would cost time; more
// rows than logitsMost gain nothing.
const (
	logitsBytes = 64 << 20
	logitsMost  = 1024
)

func (d *device) LinearCrossEntropy(p kernels.LinearCrossEntropy) {
	c := crossEntropyArgs(p)
	vocab := c.head.rows
	chunk := logitsRows(c.x.rows, vocab)
	d.logits.grow(chunk * vocab)
	du := d.headLowRank(&c)
	for lo := 0; lo < c.x.rows; lo += chunk {
		n := min(chunk, c.x.rows-lo)
		logits := d.logits.f32[:n*vocab]
		d.pool.gemm(gemmArgs{m: n, n: vocab, k: c.x.cols,
			a: c.x.from(lo), lda: c.x.stride,
			b: *c.head.operand(), off: c.head.off, ldb: c.head.stride, transB: true,
			c: logits, ldc: vocab, alpha: 1, bias: c.bias})
		if c.u.buffer != nil {
			d.pool.gemm(gemmArgs{m: n, n: vocab, k: c.u.cols,
				a: c.u.from(lo), lda: c.u.stride,
				b: *c.b.operand(), off: c.b.off, ldb: c.b.stride, transB: true,
				c: logits, ldc: vocab, alpha: p.LoRA.Scale, beta: 1})
		}
		d.eachRow(n, vocab, func(s *scratch, i int) {
			c.losses[lo+i] = d.crossEntropy(s, logits[i*vocab:(i+1)*vocab], c.targets[lo+i], &c)
		})
		if c.dx.buffer != nil {
			d.logitsGrad(&c, du, logits, lo, n)
		}
	}
	if c.dx.buffer != nil && c.u.buffer != nil {
		d.lowRankGrad(p.X, p.DX, p.Mask, []lowRank{{p.LoRA.A, p.DA, du}})
	}
}

// headLowRank sets U of the head's adapter, if there is one, and returns scratch
// memory for the gradient to it.
func (d *device) headLowRank(c *crossEntropy) (du kernels.Mat) {
	if c.u.buffer == nil {
		return du
	}
	d.lowRank(d.dropped(c.X, c.Mask), c.LoRA)
	return d.adapters.gradU(c.x.rows, c.u.cols)[0]
}

// logitsGrad takes the gradient to n rows of X Head^T, from row lo on, to X and to
// the adapter.
func (d *device) logitsGrad(c *crossEntropy, du kernels.Mat, logits []float32, lo, n int) {
	vocab := c.head.rows
	d.pool.gemm(gemmArgs{m: n, n: c.x.cols, k: vocab,
		a: logits, lda: vocab,
		b: *c.head.operand(), off: c.head.off, ldb: c.head.stride,
		c: c.dx.from(lo), ldc: c.dx.stride, alpha: 1})
	if c.u.buffer == nil {
		return
	}
	toU := floats("LinearCrossEntropy", du)
	d.pool.gemm(gemmArgs{m: n, n: c.u.cols, k: vocab,
		a: logits, lda: vocab,
		b: *c.b.operand(), off: c.b.off, ldb: c.b.stride,
		c: toU.from(lo), ldc: toU.stride, alpha: c.LoRA.Scale})
	d.pool.gemm(gemmArgs{m: vocab, n: c.u.cols, k: n,
		a: logits, lda: vocab, transA: true,
		b: *c.u.operand(), off: c.u.off + lo*c.u.stride, ldb: c.u.stride,
		c: c.db.from(0), ldc: c.db.stride, alpha: c.LoRA.Scale, beta: 1})
}

// logitsRows is how many rows have their logits computed together: rows cut into
// even chunks.
func logitsRows(rows, vocab int) int {
	most := min(logitsMost, max(16, logitsBytes/(4*vocab)&^15))
	chunks := max(1, ceilDiv(rows, most))
	return min(rows, (ceilDiv(rows, chunks)+15)&^15)
}

// crossEntropy returns a row's loss and, if the gradient is wanted, leaves
// GradScale d(loss)/d(X Head^T) in z.
func (d *device) crossEntropy(s *scratch, z []float32, target int32, p *crossEntropy) float32 {
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
	d.v.scale(e, e, float32(float64(p.gradScale)/sum))
	e[target] -= p.gradScale
	if p.Softcap > 0 {
		d.v.softcapGrad(e, z, p.Softcap)
		copy(z, e)
	}
	return loss
}
