//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// LinearCrossEntropy computes logits a chunk of rows at a time, as activations, and their gradient in place.
func (d *device) LinearCrossEntropy(p kernels.LinearCrossEntropy) {
	const op = "LinearCrossEntropy"
	rows, in, vocab := p.X.Rows, p.X.Cols, p.Head.Rows
	x, head := d.active(op, p.X, rows, in), shaped(op, p.Head, vocab, in)
	bias, targets, losses := flat(op, p.Bias, kernels.F32, vocab), flat(op, p.Targets, kernels.I32, rows), flat(op, p.Losses, kernels.F32, rows)
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)

	grad := p.DX.Buf != nil
	var dx, seen, u, du, a, b view
	if grad {
		dx = d.active(op, p.DX, rows, in)
	}
	lora := p.LoRA.A.Buf != nil
	if lora {
		r := p.LoRA.A.Rows
		a, b, u = single(op, p.LoRA.A, r, in), single(op, p.LoRA.B, vocab, r), d.active(op, p.LoRA.U, rows, r)
		seen = d.dropped(x, p.Mask)
		d.product(product{dst: u, a: seen, b: a, transB: true, alpha: 1})
		if grad {
			du = d.matrix(d.activations, rows, r)
		}
	}
	chunk, stride, lent := logitsRows(p.Room, rows, vocab, d.activations.Bytes(1))
	var logits view
	if lent {
		logits = d.active(op, kernels.Matrix(p.Room, chunk, stride), chunk, stride)
	} else {
		logits = d.matrix(d.activations, chunk, stride)
	}
	logits.cols = int32(vocab)
	padding := 0 // columns of logits that zeros below the head make, for products of whole vectors
	if !lora && stride-vocab <= p.Below && head.typ == logits.typ {
		padding = stride - vocab
		head = head.taller(padding)
	}
	for lo := 0; lo < rows; lo += chunk {
		n := min(chunk, rows-lo)
		z := top(logits, n)
		dz := z
		d.product(product{dst: z.wider(padding), a: part(x, lo, n), b: head, transB: true, alpha: 1})
		d.addBias(z, bias)
		if lora {
			d.product(product{dst: z, a: part(u, lo, n), b: b, transB: true, alpha: p.LoRA.Scale, beta: 1})
		}
		var scale driver.Pointer
		if grad {
			scale = scalar(op, p.GradScale, kernels.F64)
		} else {
			dz = view{}
		}
		d.loss(z, dz, targets+driver.Pointer(4*lo), losses+driver.Pointer(4*lo), scale, p.Softcap)
		if !grad {
			continue
		}
		d.product(product{dst: part(dx, lo, n), a: dz.wider(padding), b: head, alpha: 1}) // the padding's gradient is 0
		if lora {
			d.product(product{dst: part(du, lo, n), a: dz, b: b, alpha: p.LoRA.Scale})
			d.product(product{dst: single(op, p.DB, vocab, p.LoRA.A.Rows), a: dz, b: part(u, lo, n), transA: true, alpha: p.LoRA.Scale, beta: 1})
		}
	}
	if !lora || !grad {
		return
	}
	d.product(product{dst: single(op, p.DA, p.LoRA.A.Rows, in), a: du, b: seen, transA: true, alpha: 1, beta: 1})
	if p.Mask.P == 0 {
		d.product(product{dst: dx, a: du, b: a, alpha: 1, beta: 1})
		return
	}
	back := d.matrix(d.activations, rows, in)
	d.product(product{dst: back, a: du, b: a, alpha: 1})
	d.dropout(dx, back, p.Mask, true)
}

// loss turns a chunk of logits into losses and, with dz, their gradient.
func (d *device) loss(z, dz view, targets, losses, scale driver.Pointer, softcap float32) {
	if d.activations == kernels.F32 || z.cols < 32 {
		launch(d, "crossentropy.cross_entropy", rowGrid(int(z.rows)), threads,
			plainLossArgs{logits: z, grad: dz, targets: targets, losses: losses, gradScale: scale, softcap: softcap})
		return
	}
	// Logits lie at the start of a block of memory, aligned as the kernel wants them.
	d.run(crossEntropy(d.activations, lossArgs{X: uint64(z.data), XRow: int32(z.stride), DX: uint64(dz.data), DXRow: int32(dz.stride),
		Target: uint64(targets), Loss: uint64(losses), Scale: uint64(scale), Rows: z.rows, V: z.cols, Softcap: softcap}, d.card()))
}

// plainLossArgs is CrossEntropyArgs of crossentropy.cu.
type plainLossArgs struct {
	logits, grad               view
	targets, losses, gradScale driver.Pointer
	softcap                    float32
	_                          int32
}

// part is n rows from row lo on, and top the first n.
func part(v view, lo, n int) view {
	v.off, v.rows = v.off+int64(lo)*v.stride, int32(n)
	return v
}

func top(v view, n int) view { return part(v, 0, n) }
