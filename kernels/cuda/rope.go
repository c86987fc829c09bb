//go:build cuda && cgo && linux

package cuda

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

type plainRopeArgs struct {
	x                                   headsView
	cos, sin, positions                 driver.Pointer
	rows, len, start, half, inverse, _1 int32
}

func (d *device) RoPE(p kernels.RoPE) {
	x := d.heads("RoPE", p.X, p.Rows)
	plain := d.rotation("RoPE", p.Rotation, p.Rows, p.X.Dim)
	plain.x, plain.inverse = x, bit(p.Inverse)
	if a := plain.fast(); x.rowStride <= widest && x.headStride <= widest && p.Half > 0 && p.Rows > 0 && a.fast(d.activations) {
		d.run(rope(d.activations, a))
		return
	}
	launch(d, "rope.rope", [3]int{ceilDiv(p.X.N*p.Half, threads), min(p.Rows, 1<<15), 1}, threads, plain)
}

// rotation are the arguments of a rotation of rows of heads of dim, which it checks.
func (d *device) rotation(op string, r kernels.Rotation, rows, dim int) plainRopeArgs {
	if r.Half < 0 || 2*r.Half > dim || r.Positions == nil && (r.Len < 1 || r.Start < 0) {
		panic(fmt.Sprintf("cuda: %s: rotation of %d rows, %d from position %d, half %d of heads of %d", op, rows, r.Len, r.Start, r.Half, dim))
	}
	need := r.Half
	if r.Positions == nil {
		need = (r.Start + min(r.Len, rows)) * r.Half
	}
	return plainRopeArgs{cos: table(op, r.Cos, need), sin: table(op, r.Sin, need), positions: flat(op, r.Positions, kernels.I32, rows),
		rows: int32(rows), len: int32(max(1, r.Len)), start: int32(r.Start), half: int32(r.Half)}
}

// fast returns the arguments in the form of rope_fast.cu.
func (p plainRopeArgs) fast() ropeArgs {
	sign := float32(1)
	if p.inverse != 0 {
		sign = -1
	}
	return ropeArgs{X: uint64(p.x.start()), Cos: uint64(p.cos), Sin: uint64(p.sin), Positions: uint64(p.positions), Rows: p.rows, Len: p.len, Start: p.start,
		Heads: p.x.n, Half: p.half, XRow: int32(p.x.rowStride), XHead: int32(p.x.headStride), Sign: sign}
}
