package random

// Mask decides which elements dropout keeps, and by what it multiplies them. It is
// the one definition for every device, a function of the key and the element's
// index alone.
//
// Elements are taken 32 at a time. Block b has 8 random words: those of
// Philox4x32-10 at the counters (2b as 64 bits, 0, 0) and (2b+1, 0, 0) under the
// 64-bit key, low word first. Bit i of the j-th word is bit j of the 8-bit number
// of element 32b + i, so that one logic operation a word decides 32 elements. The
// element is kept if its number is below Keep.
type Mask struct {
	Key  uint64
	Keep uint32 // of 256
	// Scale is 256/Keep: the expectation is exact for the rounded probability. 0
	// if nothing is kept.
	Scale float32
}

// NewMask is the mask that drops an element with probability p in [0,1], rounded
// to a multiple of 1/256; a p strictly between 0 and 1 stays there. Another key is
// another mask: derive it from the seed, the step, the micro-batch and the module.
func NewMask(p float32, key uint64) Mask {
	if !(p >= 0 && p <= 1) {
		panic("random: dropout probability must be in [0,1]")
	}
	m := Mask{Key: key, Keep: 256 - uint32(float64(p)*256+0.5)}
	if p > 0 && p < 1 {
		m.Keep = min(max(m.Keep, 1), 255)
	}
	if m.Keep > 0 {
		m.Scale = float32(256 / float64(m.Keep))
	}
	return m
}

// Bits are elements 32*block to 32*block+31: bit i is 1 if element 32*block+i is
// kept.
func (m Mask) Bits(block uint64) uint32 {
	a, b := philoxAt(m.Key, 2*block, philoxDropout), philoxAt(m.Key, 2*block+1, philoxDropout)
	return m.Below([8]uint32{a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]})
}

// Below compares the 32 numbers that a block's words hold with Keep: bit i is 1 if
// the i-th is below it.
func (m Mask) Below(words [8]uint32) uint32 {
	if m.Keep >= 256 {
		return ^uint32(0)
	}
	var below uint32
	for j, w := range words { // the higher bit decides, or leaves it to those below
		if m.Keep>>j&1 == 1 {
			below |= ^w
		} else {
			below &^= w
		}
	}
	return below
}

// Keeps reports whether element i is kept.
func (m Mask) Keeps(i int) bool { return m.Bits(uint64(i)/32)>>(i%32)&1 == 1 }
