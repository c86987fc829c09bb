package kernels_test

import (
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// Each of the 65,536 halves and bfloat16s survives widening and rounding back,
// and a value between two neighbours goes to the nearer, or to the even one.
func TestHalfPrecisionRoundTrips(t *testing.T) {
	for _, f := range []struct {
		name  string
		widen func(uint16) float32
		round func(float32) uint16
		max   uint16 // the largest finite value
	}{
		{"F16", kernels.FromF16, kernels.ToF16, 0x7bff},
		{"BF16", kernels.FromBF16, kernels.ToBF16, 0x7f7f},
	} {
		for h := range uint16(0xffff) {
			x := f.widen(h)
			if x != x {
				if y := f.widen(f.round(x)); y == y {
					t.Fatalf("%s %04x: NaN became %v", f.name, h, y)
				}
				continue
			}
			if got := f.round(x); got != h {
				t.Fatalf("%s %04x = %v rounds back to %04x", f.name, h, x, got)
			}
		}
		for h := range f.max {
			lo, hi := float64(f.widen(h)), float64(f.widen(h+1))
			even := h + h&1
			mid := float32((lo + hi) / 2)
			if got := f.round(mid); got != even {
				t.Fatalf("%s: the middle of %04x and %04x rounds to %04x, want the even one", f.name, h, h+1, got)
			}
			if got := f.round(math.Nextafter32(mid, 0)); got != h {
				t.Fatalf("%s: just below the middle of %04x and %04x rounds to %04x", f.name, h, h+1, got)
			}
		}
	}
	for x, want := range map[float32]uint16{1: 0x3c00, -2: 0xc000, 65504: 0x7bff, 65520: 0x7c00, 0x1p-24: 1} {
		if got := kernels.ToF16(x); got != want {
			t.Errorf("ToF16(%v) = %04x, want %04x", x, got, want)
		}
	}
}

func TestQuantizedHighNibbleFirst(t *testing.T) {
	q := kernels.Quantized{Packed: make([]byte, 33), Absmax: []float32{2, 10}, N: 65}
	q.Packed[0], q.Packed[32] = 0xf0, 0xf0
	for i, want := range map[int]float32{0: 2, 1: -2, 64: 10} {
		if got := q.At(i); got != want {
			t.Errorf("element %d = %v, want %v", i, got, want)
		}
	}
}
