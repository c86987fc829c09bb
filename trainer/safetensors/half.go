package safetensors

import "math"

// The 16-bit floats. F16 is IEEE 754 binary16 (1 sign, 5 exponent, 10 fraction bits); BF16 is the
// upper half of a float32. Widening is exact; narrowing rounds to the nearest, ties to even.
// NaNs stay NaNs of the same sign.

func bf16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

func f32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40 // the quiet bit: the kept half of the payload may be zero
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16) // a carry out of the fraction is the next exponent
}

func f16ToF32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h >> 10 & 0x1f)
	frac := uint32(h & 0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac * 2^-24, exact in float32
		f := float32(frac) * 0x1p-24
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	default:
		return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
	}
}

func f32ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(b>>13&0x1ff)
	case b >= 0x477ff000: // 65520, halfway between the largest finite value and 2^16: infinity
		return sign | 0x7c00
	case b >= 0x38800000: // 2^-14: normal. Rebias the exponent and round 13 bits away
		b -= (127 - 15) << 23
		return sign | uint16((b+0xfff+b>>13&1)>>13)
	default: // subnormal or zero: adding 0.5 puts units of 2^-24 in the lowest bit, rounding by the FPU
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-math.Float32bits(0.5))
	}
}
