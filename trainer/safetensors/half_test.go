package safetensors

import (
	"math"
	"testing"
)

// widen is what the standard says an f16 or bf16 bit pattern means, in float64.
func widen(h uint16, expBits, fracBits int) float64 {
	exp := int(h>>fracBits) & (1<<expBits - 1)
	frac := float64(h&(1<<fracBits-1)) / float64(int(1)<<fracBits)
	bias := 1<<(expBits-1) - 1
	v := math.Ldexp(1+frac, exp-bias)
	switch {
	case exp == 1<<expBits-1 && frac == 0:
		v = math.Inf(1)
	case exp == 1<<expBits-1:
		v = math.NaN()
	case exp == 0:
		v = math.Ldexp(frac, 1-bias)
	}
	if h>>15 == 1 {
		v = -v
	}
	return v
}

// TestHalfTypes goes through all 65,536 patterns of both types: widening is exact, narrowing
// gives the pattern back, and what lies between two neighbours goes to the nearer, at the middle
// to the even one.
func TestHalfTypes(t *testing.T) {
	for _, c := range []struct {
		name     string
		exp, fr  int
		to       func(uint16) float32
		from     func(float32) uint16
		overflow float64 // halfway between the largest finite value and the next power of two
	}{
		{"F16", 5, 10, f16ToF32, f32ToF16, 65520},
		{"BF16", 8, 7, bf16ToF32, f32ToBF16, math.Ldexp(1+255.0/256, 127)},
	} {
		t.Run(c.name, func(t *testing.T) {
			isNaN := func(h uint16) bool { return math.IsNaN(widen(h, c.exp, c.fr)) }
			for i := range 1 << 16 {
				h := uint16(i)
				want, got := widen(h, c.exp, c.fr), c.to(h)
				if math.IsNaN(want) {
					back := c.from(got)
					if got == got || !isNaN(back) || back>>15 != h>>15 {
						t.Fatalf("%#04x: NaN became %v, then %#04x", h, got, back)
					}
					continue
				}
				if float64(got) != want || math.Signbit(float64(got)) != (h>>15 == 1) {
					t.Fatalf("%#04x: got %v, want %v", h, got, want)
				}
				if back := c.from(got); back != h {
					t.Fatalf("%#04x: %v narrowed to %#04x", h, got, back)
				}
				next := widen(h+1, c.exp, c.fr) // away from zero
				if math.IsInf(want, 0) || math.IsNaN(next) {
					continue
				}
				if math.IsInf(next, 0) {
					next = math.Copysign(2*c.overflow, want) - want // so that the middle is overflow
				}
				middle := float32((want + next) / 2)
				if float64(middle) != (want+next)/2 {
					continue // BF16 subnormals' lowest neighbours: float32 has no such middle
				}
				even := h + h&1
				outside := float32(math.Copysign(math.Inf(1), want))
				if n := c.from(middle); n != even {
					t.Fatalf("middle %v above %#04x: got %#04x, want %#04x", middle, h, n, even)
				}
				if n := c.from(math.Nextafter32(middle, 0)); n != h {
					t.Fatalf("below the middle above %#04x: got %#04x", h, n)
				}
				if n := c.from(math.Nextafter32(middle, outside)); n != h+1 {
					t.Fatalf("above the middle above %#04x: got %#04x", h, n)
				}
			}
			for _, f := range []float32{math.MaxFloat32, float32(math.Inf(1))} {
				if !math.IsInf(float64(c.to(c.from(f))), 1) || !math.IsInf(float64(c.to(c.from(-f))), -1) {
					t.Fatalf("%v is not an infinity", f)
				}
			}
			// A NaN whose payload is only in the bits that are cut off stays a NaN.
			if h := c.from(math.Float32frombits(0xff800001)); !isNaN(h) || h>>15 != 1 {
				t.Fatalf("NaN became %#04x", h)
			}
		})
	}
}
