//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
	"github.com/shannon-control/scu/kernels/random"
)

type dropoutArgs struct {
	dst, src view
	key      driver.Pointer
	module   uint64
	keep     int32
	scale    float32
	add, _   int32
}

func (d *device) Dropout(p kernels.Dropout) {
	dst, src := d.active("Dropout", p.Dst, p.Dst.Rows, p.Dst.Cols), d.active("Dropout", p.Src, p.Dst.Rows, p.Dst.Cols)
	d.dropout(dst, src, p.Mask, p.Add)
}

func (d *device) dropout(dst, src view, m kernels.Mask, add bool) {
	mask := random.NewMask(m.P, 0)
	a := dropoutArgs{dst: dst, src: src, module: m.Module, keep: int32(mask.Keep), scale: mask.Scale, add: bit(add)}
	if m.P > 0 {
		a.key = scalar("Dropout", m.Key, kernels.U64)
	}
	launch(d, "dropout.dropout", line(int(dst.rows)*int(dst.cols)), threads, a)
}
