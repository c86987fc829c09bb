// Package random makes random numbers that are functions of a key and an index,
// never of hidden state: a resumed run equals an uninterrupted one, and every
// device drops the same elements. The generator is Philox4x32-10 (Salmon, Moraes,
// Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
package random

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

// Uniform is the i-th number of key's stream: uniform in [0,1), all 53 bits
// random.
func Uniform(key, i uint64) float64 {
	r := philoxAt(key, i, philoxUniform)
	return float64((uint64(r[1])<<32|uint64(r[0]))>>11) * 0x1p-53
}
