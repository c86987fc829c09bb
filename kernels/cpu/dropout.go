package cpu

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

func (d *device) Dropout(p kernels.Dropout) {
	y := floats("Dropout", p.Dst)
	x, mask := shaped("Dropout", p.Src, y.rows, y.cols), maskOf(p.Mask)
	drop := d.v.dropout
	if p.Add {
		drop = d.v.dropoutAdd
	}
	flatten(&y, &x)
	d.eachRow(y.rows, y.cols, func(s *scratch, i int) {
		to, from := y.row(i), x.row(i)
		for j := 0; j < len(to); j += block {
			n := min(block, len(to)-j)
			drop(to[j:j+n], from[j:], s.kept(d.v, &mask, i*y.cols+j, n), mask.Scale)
		}
	})
}

// kept returns the mask's bits for at most block elements from the first on, and a
// word more.
func (s *scratch) kept(v *vectors, mask *random.Mask, first, n int) []uint32 {
	const perWord = 8 // random words for 32 elements
	words, skip := ceilDiv(first%32+n, 32), first%32
	r := s.random[:ceilDiv(perWord*words, 32)*32]
	v.random(r, mask.Key, uint64(first/32)*2)
	keep := s.keep[:words+1]
	for w := range words {
		keep[w] = mask.Below([perWord]uint32(r[perWord*w:]))
	}
	keep[words] = 0
	if skip > 0 {
		for w := range words {
			keep[w] = keep[w]>>skip | keep[w+1]<<(32-skip)
		}
	}
	return keep
}
