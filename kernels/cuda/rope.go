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
	if p.Half < 0 || 2*p.Half > p.X.Dim || p.Positions == nil && (p.Len < 1 || p.Start < 0) {
		panic(fmt.Sprintf("cuda: RoPE of %d rows, %d from position %d, half %d of heads of %d", p.Rows, p.Len, p.Start, p.Half, p.X.Dim))
	}
	need := p.Half
	if p.Positions == nil {
		need = (p.Start + min(p.Len, p.Rows)) * p.Half
	}
	plain := plainRopeArgs{x: x,
		cos: table("RoPE", p.Cos, need), sin: table("RoPE", p.Sin, need),
		positions: flat("RoPE", p.Positions, kernels.I32, p.Rows),
		rows:      int32(p.Rows), len: int32(max(1, p.Len)), start: int32(p.Start), half: int32(p.Half), inverse: bit(p.Inverse)}
	if a := plain.fast(); x.rowStride <= widest && x.headStride <= widest && p.Half > 0 && p.Rows > 0 && a.fast(d.activations) {
		d.run(rope(d.activations, a))
		return
	}
	launch(d, "rope.rope", [3]int{ceilDiv(p.X.N*p.Half, threads), min(p.Rows, 1<<15), 1}, threads, plain)
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
