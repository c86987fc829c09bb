package cpu

// Sums over all parameters or losses. They are made of blocks, each summed in F64 in
// its own order, and the blocks are added up in sequence.

import "github.com/shannon-control/scu/kernels"

func (d *device) Sum(dst kernels.Scalar, src kernels.Buffer, add bool) {
	to, sum := double("Sum", dst), d.reduce(flat("Sum", src), sum64)
	if add {
		sum += *to
	}
	*to = sum
}

func (d *device) SumSquares(dst kernels.Scalar, src kernels.Buffer) {
	*double("SumSquares", dst) = d.reduce(flat("SumSquares", src), squares64)
}

func (d *device) reduce(x []float32, sum func(x []float32) float64) (total float64) {
	blocks := ceilDiv(len(x), block)
	d.partial = grown(d.partial, blocks)
	d.pool.run(blocks, 4, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			d.partial[b] = sum(x[b*block : min((b+1)*block, len(x))])
		}
	})
	for _, s := range d.partial {
		total += s
	}
	return total
}

// The sums have four chains of additions, for speed.

func sum64(x []float32) float64 {
	var s [4]float64
	for ; len(x) >= 4; x = x[4:] {
		s[0] += float64(x[0])
		s[1] += float64(x[1])
		s[2] += float64(x[2])
		s[3] += float64(x[3])
	}
	for _, v := range x {
		s[0] += float64(v)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

func squares64(x []float32) float64 {
	var s [4]float64
	for ; len(x) >= 4; x = x[4:] {
		s[0] += float64(x[0]) * float64(x[0])
		s[1] += float64(x[1]) * float64(x[1])
		s[2] += float64(x[2]) * float64(x[2])
		s[3] += float64(x[3]) * float64(x[3])
	}
	for _, v := range x {
		s[0] += float64(v) * float64(v)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}
