package kernels

// The number formats of frozen weights, widened to F32. The one definition that
// devices and their tests are checked against.

import "math"

// FromBF16 widens a bfloat16: the upper half of a float32.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// ToBF16 rounds to the nearest bfloat16, ties to even.
func ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40 // a NaN stays one
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromF16 widens an IEEE 754 half.
func FromF16(h uint16) float32 {
	sign, exp, frac := uint32(h)>>15<<31, uint32(h)>>10&31, uint32(h)&0x3ff
	switch exp {
	case 0: // zero or subnormal: frac * 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// ToF16 rounds to the nearest half, ties to even; what is too large is infinite.
func ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign, a := uint16(b>>16)&0x8000, b&0x7fffffff
	switch {
	case a > 0x7f800000:
		return sign | 0x7e00
	case a >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case a < 0x38800000: // below 2^-14: a multiple of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(a))*0x1p24))
	}
	a -= 112 << 23
	return sign | uint16((a+0xfff+a>>13&1)>>13)
}

// NF4Levels are the 16 values of 4-bit NormalFloat (QLoRA, arXiv:2305.14314,
// appendix E): element = NF4Levels[code] * the scale of its block.
var NF4Levels = [16]float32{
	-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
}

// NF4Block is how many elements share a scale.
const NF4Block = 64

// At is element i, widened.
func (q Quantized) At(i int) float32 {
	code := q.Packed[i/2] >> 4
	if i%2 == 1 {
		code = q.Packed[i/2] & 15
	}
	return NF4Levels[code] * q.Absmax[i/NF4Block]
}
