package reference

import (
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

func (d *device) Embed(p kernels.Embed) {
	y, table := d.acts("Embed", p.Dst), matrix("Embed", p.Table)
	table.want("Embed", table.rows, y.cols)
	ids := integers("Embed", p.IDs, y.rows)
	for i, id := range ids {
		if id < 0 || int(id) >= table.rows {
			panic(fmt.Sprintf("reference: Embed: id %d at row %d of a table of %d", id, i, table.rows))
		}
	}
	y.fill(func(i, j int) float64 {
		v := float64(p.Scale) * table.row(int(ids[i]))[j]
		if p.Add {
			v += y.row(i)[j]
		}
		return v
	})
}
