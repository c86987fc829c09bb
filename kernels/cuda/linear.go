//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
)

// matrix takes scratch memory for a dense matrix.
func (d *device) matrix(t kernels.DType, rows, cols int) view {
	return view{data: d.scratch.take(d, t.Bytes(rows*cols)), stride: int64(cols), rows: int32(rows), cols: int32(cols), typ: typeOf(t)}
}

// dropped is X behind the mask: X itself where all is kept.
func (d *device) dropped(x view, m kernels.Mask) view {
	if m.P == 0 {
		return x
	}
	y := d.matrix(d.activations, int(x.rows), int(x.cols))
	d.dropout(y, x, m, false)
	return y
}

func (d *device) Linear(p kernels.Linear) {
	const op = "Linear"
	rows, in := p.X.Rows, p.X.Cols
	x := d.active(op, p.X, rows, in)
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)
	adapters, fast := d.thin(op, x, p.Mask, p.Parts)
	if fast && d.linearAtOnce(p, x, adapters, d.down) {
		return
	}
	var adapted []view // of fast adapters
	var seen view      // by the others
	for _, l := range p.Parts {
		out := l.Dst.Cols
		dst := shaped(op, l.Dst, rows, out)
		d.allowed(d.activations, l.W.Buf.DType(), l.Dst.Buf.DType())
		d.product(product{dst: dst, a: x, b: weight(op, l, in, out), residual: d.residual(op, l, rows), bias: flat(op, l.Bias, kernels.F32, out), transB: !l.Conv1D, alpha: 1})
		if l.LoRA.A.Buf == nil {
			continue
		}
		if fast {
			adapted = append(adapted, dst)
			continue
		}
		if seen.data == 0 {
			seen = d.dropped(x, p.Mask)
		}
		r := l.LoRA.A.Rows
		u := d.active(op, l.LoRA.U, rows, r)
		d.product(product{dst: u, a: seen, b: single(op, l.LoRA.A, r, in), transB: true, alpha: 1})
		d.product(product{dst: dst, a: u, b: single(op, l.LoRA.B, out, r), transB: true, alpha: l.LoRA.Scale, beta: 1})
	}
	if fast {
		d.thinForward(adapters, adapted)
	}
}

// residual is what is added to a layer, or nothing.
func (d *device) residual(op string, l kernels.LinearPart, rows int) view {
	if l.Residual.Buf == nil {
		return view{}
	}
	return d.active(op, l.Residual, rows, l.Dst.Cols)
}

// weight is a layer's frozen matrix as it lies: [out,in], or [in,out] of a Conv1D.
func weight(op string, l kernels.LinearPart, in, out int) view {
	if l.Conv1D {
		return shaped(op, l.W, in, out)
	}
	return shaped(op, l.W, out, in)
}

func (d *device) LinearGrad(p kernels.LinearGrad) {
	const op = "LinearGrad"
	rows, in := p.X.Rows, p.X.Cols
	x := d.active(op, p.X, rows, in)
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)
	var dx, seen view
	if p.DX.Buf != nil {
		dx = d.active(op, p.DX, rows, in)
	}
	first := !p.Accumulate
	layers := make([]kernels.LinearPart, len(p.Parts))
	for i, l := range p.Parts {
		layers[i] = l.LinearPart
	}
	adapters, fast := d.thin(op, x, p.Mask, layers)
	if fast && d.linearGradAtOnce(p, dx, adapters) {
		return
	}
	p.Again(d)
	next := 0 // of the fast adapters
	for _, l := range p.Parts {
		out := l.DY.Cols
		dy := d.active(op, l.DY, rows, out)
		if dx.data != 0 {
			d.product(product{dst: dx, a: dy, b: weight(op, l.LinearPart, in, out), transB: l.Conv1D, alpha: 1, beta: unless(first)})
			first = false
		}
		if l.LoRA.A.Buf == nil {
			continue
		}
		if fast {
			t := &adapters.layers[next]
			next++
			t.dy, t.da, t.db, t.du = dy, single(op, l.DA, t.rank, in), single(op, l.DB, out, t.rank), d.matrix(d.activations, rows, t.rank)
			continue
		}
		if seen.data == 0 {
			seen = d.dropped(x, p.Mask)
		}
		inner := d.scratch.mark()
		r := l.LoRA.A.Rows
		a, b, u := single(op, l.LoRA.A, r, in), single(op, l.LoRA.B, out, r), d.active(op, l.LoRA.U, rows, r)
		du := d.matrix(d.activations, rows, r)
		d.product(product{dst: du, a: dy, b: b, alpha: l.LoRA.Scale})
		d.product(product{dst: single(op, l.DB, out, r), a: dy, b: u, transA: true, alpha: l.LoRA.Scale, beta: 1})
		d.product(product{dst: single(op, l.DA, r, in), a: du, b: seen, transA: true, alpha: 1, beta: 1})
		if dx.data != 0 {
			if p.Mask.P == 0 {
				d.product(product{dst: dx, a: du, b: a, alpha: 1, beta: 1})
			} else {
				back := d.matrix(d.activations, rows, in)
				d.product(product{dst: back, a: du, b: a, alpha: 1})
				d.dropout(dx, back, p.Mask, true)
			}
		}
		d.scratch.release(d, inner)
	}
	if fast {
		d.thinBackward(adapters, dx)
	}
}

// unless is beta: 0 overwrites, 1 adds.
func unless(first bool) float32 {
	if first {
		return 0
	}
	return 1
}
