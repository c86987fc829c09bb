package kernels

// Random numbers that are functions of a key and an index, never of hidden
// state, so that a resumed run equals an uninterrupted one and every device
// drops the same elements. The generator is Philox4x32-10 (Salmon, Moraes, Dror,
// Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

// The last word of the counter keeps the streams of the two users apart.
const (
	philoxDropout = 0
	philoxUniform = 1
)

// Philox4x32 is the generator's bijection with 10 rounds: four random words for
// a counter and a key.
func Philox4x32(c [4]uint32, key [2]uint32) [4]uint32 {
	const (
		mul0, mul1   = 0xD2511F53, 0xCD9E8D57
		weyl0, weyl1 = 0x9E3779B9, 0xBB67AE85
	)
	for range 10 {
		p0 := uint64(c[0]) * mul0
		p1 := uint64(c[2]) * mul1
		c = [4]uint32{
			uint32(p1>>32) ^ c[1] ^ key[0], uint32(p1),
			uint32(p0>>32) ^ c[3] ^ key[1], uint32(p0),
		}
		key[0] += weyl0
		key[1] += weyl1
	}
	return c
}

// philoxAt is the generator at position i of one of key's streams.
func philoxAt(key, i uint64, stream uint32) [4]uint32 {
	return Philox4x32(
		[4]uint32{uint32(i), uint32(i >> 32), 0, stream},
		[2]uint32{uint32(key), uint32(key >> 32)})
}

// DropoutMask says which elements dropout with probability p keeps, and by what
// it multiplies them. It is the one definition for every device:
//
// Element i has 16 random bits r: the (i mod 8)-th half word, low half first, of
// Philox4x32-10 at counter (i/8 as 64 bits, 0, 0) under the 64-bit key, low word
// first. It is kept where r >= Threshold. p is thereby rounded to 1/65536, and
// Scale = 1/(1 - Threshold/65536) belongs to the rounded p, so that the
// expectation is exact.
type DropoutMask struct {
	Key       uint64
	Threshold uint32 // 0 keeps all, 65536 none
	Scale     float32
}

// NewDropoutMask is the mask for probability p in [0,1] and a key. Another key is
// another mask: derive it from the seed, the step, the layer and the place.
func NewDropoutMask(p float32, key uint64) DropoutMask {
	if !(p >= 0 && p <= 1) {
		panic("kernels: dropout probability must be in [0,1]")
	}
	m := DropoutMask{Key: key, Threshold: uint32(float64(p)*65536 + 0.5)}
	if m.Threshold < 65536 {
		m.Scale = float32(65536 / float64(65536-m.Threshold))
	}
	return m
}

// Bits8 returns the 16 random bits of elements 8*block to 8*block+7.
func (m DropoutMask) Bits8(block uint64) (r [8]uint16) {
	for w, word := range philoxAt(m.Key, block, philoxDropout) {
		r[2*w], r[2*w+1] = uint16(word), uint16(word>>16)
	}
	return r
}

// Keep reports whether element i is kept.
func (m DropoutMask) Keep(i int) bool {
	r := m.Bits8(uint64(i) / 8)
	return uint32(r[i%8]) >= m.Threshold
}

// Uniform is the i-th number of key's stream: uniform in [0,1), all 53 bits
// random. For LoRA's initialisation and the order of blocks.
func Uniform(key, i uint64) float64 {
	r := philoxAt(key, i, philoxUniform)
	return float64((uint64(r[1])<<32|uint64(r[0]))>>11) * 0x1p-53
}
