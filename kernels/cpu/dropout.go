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

// below is random.Mask.Below of one block after the other, whose words are in r.
func below(keep, r []uint32, limit uint32) {
	var bits [8]uint32 // of the limit, each spread over a word
	for j := range bits {
		bits[j] = -(limit >> j & 1)
	}
	start := -(limit >> 8 & 1) // of 256 all are below
	for i := range keep {
		w := (*[8]uint32)(r[8*i:])
		k := start
		k = (k|bits[0])&^w[0] | k&bits[0]
		k = (k|bits[1])&^w[1] | k&bits[1]
		k = (k|bits[2])&^w[2] | k&bits[2]
		k = (k|bits[3])&^w[3] | k&bits[3]
		k = (k|bits[4])&^w[4] | k&bits[4]
		k = (k|bits[5])&^w[5] | k&bits[5]
		k = (k|bits[6])&^w[6] | k&bits[6]
		k = (k|bits[7])&^w[7] | k&bits[7]
		keep[i] = k | start
	}
}

// kept returns the mask's bits for at most block elements from the first on, and a
// word more.
func (s *scratch) kept(v *vectors, mask *random.Mask, first, n int) []uint32 {
	const perWord = 8 // random words for 32 elements
	words, skip := ceilDiv(first%32+n, 32), first%32
	r := s.random[:ceilDiv(perWord*words, 32)*32]
	v.random(r, mask.Key, uint64(first/32)*2)
	keep := s.keep[:words+1]
	below(keep[:words], r, mask.Keep)
	keep[words] = 0
	if skip > 0 {
		for w := range words {
			keep[w] = keep[w]>>skip | keep[w+1]<<(32-skip)
		}
	}
	return keep
}
