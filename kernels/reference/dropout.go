package reference

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

func (d *device) Dropout(p kernels.Dropout) {
	y := d.acts("Dropout", p.Dst)
	x, mask := d.acts("Dropout", p.Src).want("Dropout", y.rows, y.cols), maskOf(p.Mask)
	y.fill(func(i, j int) float64 {
		v := 0.0
		if mask.Keeps(i*y.cols + j) {
			v = x.row(i)[j] * float64(mask.Scale)
		}
		if p.Add {
			v += y.row(i)[j]
		}
		return v
	})
}

// maskOf is a mask as its key stands now.
func maskOf(m kernels.Mask) random.Mask {
	if m.P == 0 {
		return random.NewMask(0, 0)
	}
	b, ok := m.Key.Buf.(*buffer)
	if !ok || m.Key.I < 0 || m.Key.I >= len(b.u64) {
		panic(fmt.Sprintf("reference: a mask's key is no element of a U64 buffer: %v", m.Key))
	}
	return random.NewMask(m.P, random.Key(b.u64[m.Key.I], m.Module))
}
