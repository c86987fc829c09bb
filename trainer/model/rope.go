package model

import "math"

// RoPE is a rotary position embedding of the first elements of each head
// (arXiv:2104.09864), scaled as config.json asks.
type RoPE struct {
	Dim    int // elements to rotate; an odd Dim counts as one more in Pairs, but not in the frequencies, as in Transformers
	Theta  float64
	Scaler Scaler
}

// Scaler stretches a RoPE to longer texts. The zero value leaves it alone.
type Scaler struct {
	Type      string // "", "linear", "dynamic", "llama3", "yarn", "longrope"
	Factor    float64
	Original  int // positions before stretching
	Positions int // positions after it

	LowFreq, HighFreq    float64 // llama3
	BetaFast, BetaSlow   float64 // yarn
	Truncate             bool    // yarn
	Attention            float64 // yarn, longrope: factor on cos and sin; 0 is the method's own
	MScale, MScaleAllDim float64 // yarn
	Short, Long          []float64
}

// Pairs is the number of rotated pairs: element i goes with element i+Pairs.
func (r *RoPE) Pairs() int { return (r.Dim + 1) / 2 }

// long reports whether texts of n tokens use the second set of frequencies.
func (r *RoPE) long(n int) bool {
	return r.Scaler.Type == "longrope" && n > r.Scaler.Original || r.Scaler.Type == "dynamic" && n > r.Scaler.Positions
}

// frequencies returns the angle per position of each pair, and the factor on cos
// and sin, for texts of n tokens.
// The arithmetic is Transformers' (modeling_rope_utils), which rounds exponents,
// powers and frequencies to fp32: the product with a position would show it.
func (r *RoPE) frequencies(n int) (inv []float32, scale float64) {
	half := r.Pairs()
	f := make([]float64, half)
	for i := range f {
		f[i] = float64(float32(1 / r.power(r.Theta, i)))
	}
	s, scale := r.Scaler, 1.0
	switch s.Type {
	case "linear":
		for i := range f {
			f[i] /= s.Factor
		}
	case "llama3":
		low, high := float64(s.Original)/s.LowFreq, float64(s.Original)/s.HighFreq
		for i, v := range f {
			switch wave := 2 * math.Pi / v; {
			case wave > low:
				f[i] = v / s.Factor
			case wave >= high:
				smooth := (float64(s.Original)/wave - s.LowFreq) / (s.HighFreq - s.LowFreq)
				f[i] = (1-smooth)*v/s.Factor + smooth*v
			}
		}
	case "dynamic":
		if r.long(n) {
			// The number of tokens is a tensor there, so that this is fp32 too.
			dim := float64(r.Dim)
			stretch := float32(float32(s.Factor*float64(n))/float32(s.Positions)) - float32(s.Factor-1)
			theta := float64(float32(r.Theta) * float32(math.Pow(float64(stretch), float64(float32(dim/(dim-2))))))
			for i := range f {
				f[i] = 1 / r.power(theta, i)
			}
		}
	case "yarn":
		scale = r.yarn(f)
	case "longrope":
		factors := s.Short
		if r.long(n) {
			factors = s.Long
		}
		for i := range f {
			f[i] = 1 / float64(float32(factors[i]*r.power(r.Theta, i)))
		}
		scale = s.AttentionFactor()
	}
	inv = make([]float32, half)
	for i, v := range f {
		inv[i] = float32(v)
	}
	return inv, scale
}

// AttentionFactor is longrope's factor on cos and sin.
func (s Scaler) AttentionFactor() float64 {
	switch {
	case s.Attention != 0:
		return s.Attention
	case s.Factor > 1:
		return math.Sqrt(1 + math.Log(s.Factor)/math.Log(float64(s.Original)))
	}
	return 1
}

// power is theta^(2i/Dim), rounded as torch rounds it.
func (r *RoPE) power(theta float64, i int) float64 {
	return float64(float32(math.Pow(float64(float32(theta)), float64(float32(2*i)/float32(r.Dim)))))
}

// yarn interpolates low frequencies and keeps high ones (arXiv:2309.00071).
func (r *RoPE) yarn(f []float64) (scale float64) {
	s := r.Scaler
	// correction is the dimension at which a text of the original length has
	// turned `rotations` times.
	correction := func(rotations float64) float64 {
		return float64(r.Dim) * math.Log(float64(s.Original)/(rotations*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high := correction(s.BetaFast), correction(s.BetaSlow)
	if s.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = math.Max(low, 0), math.Min(high, float64(r.Dim-1))
	if low == high {
		high += 0.001
	}
	for i, v := range f {
		ramp := math.Min(math.Max((float64(i)-low)/(high-low), 0), 1)
		f[i] = v/s.Factor*ramp + v*(1-ramp)
	}
	if s.Attention != 0 {
		return s.Attention
	}
	mscale := func(m float64) float64 {
		if s.Factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(s.Factor) + 1
	}
	if s.MScale != 0 && s.MScaleAllDim != 0 {
		return mscale(s.MScale) / mscale(s.MScaleAllDim)
	}
	return mscale(1)
}

// Tables returns cos and sin [positions, Pairs] for texts of n tokens.
func (r *RoPE) Tables(positions, n int) (cos, sin []float32) {
	inv, scale := r.frequencies(n)
	half := len(inv)
	cos, sin = make([]float32, positions*half), make([]float32, positions*half)
	for p := 0; p < positions; p++ {
		for i, v := range inv {
			angle := float64(v * float32(p)) // the product is rounded to fp32 in the reference too
			cos[p*half+i] = float32(math.Cos(angle) * scale)
			sin[p*half+i] = float32(math.Sin(angle) * scale)
		}
	}
	return cos, sin
}
