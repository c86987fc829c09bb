//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

type embedArgs struct {
	dst, table view
	ids        driver.Pointer
	scale      float32
	add        int32
}

func (d *device) Embed(p kernels.Embed) {
	dst := d.active("Embed", p.Dst, p.Dst.Rows, p.Dst.Cols)
	launch(d, "embed.embed", gridOf(dst), threads, embedArgs{dst, shaped("Embed", p.Table, p.Table.Rows, p.Dst.Cols),
		flat("Embed", p.IDs, kernels.I32, p.Dst.Rows), p.Scale, bit(p.Add)})
}
