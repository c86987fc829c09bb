package kernels_test

import (
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// The vectors that the generator's authors publish (Random123, kat_vectors).
func TestPhiloxKnownAnswers(t *testing.T) {
	const m = 0xffffffff
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{m, m, m, m}, [2]uint32{m, m}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := kernels.Philox4x32(c.counter, c.key); got != c.want {
			t.Errorf("Philox4x32(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

func TestDropoutMaskKeepsTheRightShare(t *testing.T) {
	const n = 1 << 16
	for _, p := range []float32{0, 0.05, 0.1, 0.5, 0.9, 1} {
		m := kernels.NewDropoutMask(p, 42)
		kept := 0
		for i := range n {
			if m.Keep(i) {
				kept++
			}
		}
		want := (1 - float64(p)) * n
		sigma := math.Sqrt(float64(p)*want) + 1
		if math.Abs(float64(kept)-want) > 4*sigma {
			t.Errorf("p=%v keeps %d of %d, want %.0f +- %.0f", p, kept, n, want, 4*sigma)
		}
		if mean := float64(m.Scale) * (1 - float64(m.Threshold)/65536); p < 1 && math.Abs(mean-1) > 1e-6 {
			t.Errorf("p=%v: expectation %v, want 1", p, mean)
		}
	}
}

func TestUniformIsUniformAndDependsOnKeyAndIndex(t *testing.T) {
	const n = 1 << 14
	var sum, squares float64
	seen := map[float64]bool{}
	for i := range uint64(n) {
		u := kernels.Uniform(7, i)
		if u < 0 || u >= 1 {
			t.Fatalf("Uniform(7, %d) = %v", i, u)
		}
		sum += u
		squares += u * u
		seen[u] = true
		seen[kernels.Uniform(8, i)] = true
	}
	if len(seen) != 2*n {
		t.Errorf("%d distinct numbers of %d", len(seen), 2*n)
	}
	if mean := sum / n; math.Abs(mean-0.5) > 0.01 {
		t.Errorf("mean %v, want 0.5", mean)
	}
	if m2 := squares / n; math.Abs(m2-1.0/3) > 0.01 {
		t.Errorf("second moment %v, want 1/3", m2)
	}
}
