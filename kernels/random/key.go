package random

// Streams keep the random numbers of different uses apart, see Key.
const (
	StreamInit    = iota // LoRA's initial weights
	StreamDropout        // dropout masks
	StreamOrder          // the order of blocks
	StreamSample         // text generation
)

// Key derives a 64-bit key from a seed and the coordinates of a use (stream,
// step, module, ...): another coordinate gives an unrelated key. Each is mixed in
// by SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014).
func Key(seed uint64, coordinates ...uint64) uint64 {
	mix := func(z uint64) uint64 {
		z += 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	k := mix(seed)
	for _, c := range coordinates {
		k = mix(k ^ mix(c))
	}
	return k
}
