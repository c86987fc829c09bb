package nf4

// Double quantisation: the scales of the blocks in 8 bits each.

import (
	"math"
	"math/bits"
	"slices"
	"sort"
)

// Scales are block scales in 8 bits: scale i is Offset + Map[Codes[i]] *
// Absmax[i/256].
type Scales struct {
	Codes  []byte
	Map    [256]float32
	Absmax []float32 // the largest |scale - Offset| of each 256 scales
	Offset float32   // the mean of all scales
}

// scalesBlock is how many scales share an Absmax.
const scalesBlock = 256

// Widen computes the scales.
func (s *Scales) Widen() []float32 {
	out := make([]float32, len(s.Codes))
	for i, c := range s.Codes {
		// The conversion keeps the product from being fused with the sum.
		out[i] = float32(s.Map[c]*s.Absmax[i/scalesBlock]) + s.Offset
	}
	return out
}

// quantizeScales overwrites its argument.
func quantizeScales(scales []float32) Scales {
	s := Scales{Codes: make([]byte, len(scales)), Map: dynamicMap, Absmax: make([]float32, blocks(len(scales), scalesBlock)), Offset: mean(scales)}
	for i := range scales {
		scales[i] -= s.Offset
	}
	for b := range s.Absmax {
		end := min((b+1)*scalesBlock, len(scales))
		part := scales[b*scalesBlock : end]
		m := largest(part)
		s.Absmax[b] = m
		for i, x := range part {
			s.Codes[b*scalesBlock+i] = dynamicCode(x * (1 / m))
		}
	}
	return s
}

// dynamicMap holds the 256 values of the signed dynamic data type
// (arXiv:1511.04561), sorted: for each of 7 powers of ten, 2^i means of the
// neighbours among 2^i+1 points from 0.1 to 1, with both signs; and 0 and 1.
var dynamicMap = func() (m [256]float32) {
	values := []float32{0, 1}
	first := float32(0.1)
	for i := range 7 {
		n := 1 << i
		step := float64((1 - first) / float32(n))
		// From the nearer end, as torch.linspace does.
		point := func(j int) float32 {
			if j < (n+1)/2 {
				return float32(float64(first) + step*float64(j))
			}
			return float32(1 - step*float64(n-j))
		}
		power := float32(math.Pow10(i - 6))
		for j := range n {
			v := power * ((point(j) + point(j+1)) / 2)
			values = append(values, v, -v)
		}
	}
	slices.Sort(values)
	copy(m[:], values)
	return m
}()

// dynamicCode is the code of v in [-1,1]: the value nearest to v on a grid of
// 65536 points. The grid is coarser than the values around 0, and bitsandbytes'
// bytes depend on it. NaN, which equal scales give, is code 0.
func dynamicCode(v float32) byte {
	if !(v > -1) {
		return 0
	}
	point := int(float32((min(v, 1)+1)*32767.5) + 0.5)
	v = 2*float32(point)/65535 - 1
	return byte(sort.Search(255, func(i int) bool { return v <= (dynamicMap[i]+dynamicMap[i+1])/2 }))
}

// mean is torch.mean of contiguous F32 values on one thread of an x86 CPU: the
// order of its sum decides the last bit.
func mean(x []float32) float32 {
	lanes := 8 // of a vector
	if len(x) < lanes {
		lanes = 1
	}
	// Four accumulators of a vector each take turns; what is left over at the end
	// goes to the first.
	width := 4 * lanes
	vectors := len(x) / lanes * lanes
	rows := len(x) / width * width
	columns := columnSums(x[:rows], width)
	for i, v := range x[rows:vectors] {
		columns[i%lanes] += v
	}
	for i, v := range columns[lanes:width] {
		columns[i%lanes] += v
	}
	var sum float32
	for _, v := range x[vectors:] {
		sum += v
	}
	for _, v := range columns[:lanes] {
		sum += v
	}
	return sum / float32(len(x))
}

// columnSums sums each column of a matrix of up to 32 columns: in four levels, so
// that long columns lose no more to rounding than short ones (cascade summation).
func columnSums(x []float32, width int) [32]float32 {
	rows := len(x) / width
	power := max(4, bits.Len(uint(max(rows, 1)-1))/4)
	var sums [4][32]float32
	for row := range rows {
		add(&sums[0], x[row*width:][:width])
		done := row + 1
		for i := 1; i < 4 && done%(1<<(i*power)) == 0; i++ {
			add(&sums[i], sums[i-1][:])
			sums[i-1] = [32]float32{}
		}
	}
	for i := 1; i < 4; i++ {
		add(&sums[0], sums[i][:])
	}
	return sums[0]
}

func add(dst *[32]float32, src []float32) {
	for i, v := range src {
		dst[i] += v
	}
}
