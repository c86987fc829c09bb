package random_test

import (
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels/random"
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
		if got := random.Philox4x32(c.counter, c.key); got != c.want {
			t.Errorf("Philox4x32(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

func TestMaskKeepsTheRightShare(t *testing.T) {
	const n = 1 << 16
	for _, p := range []float32{0, 0.001, 0.05, 0.1, 0.25, 0.5, 0.9, 0.999, 1} {
		m := random.NewMask(p, 42)
		kept := 0
		for i := range n {
			if m.Keeps(i) {
				kept++
			}
		}
		want := float64(m.Keep) / 256 * n
		sigma := math.Sqrt(want*(1-float64(m.Keep)/256)) + 1e-9
		if math.Abs(float64(kept)-want) > 4*sigma {
			t.Errorf("p=%v keeps %d of %d, want %.0f +- %.0f", p, kept, n, want, 4*sigma)
		}
		if off := math.Abs(float64(m.Keep)/256 - (1 - float64(p))); off > 0.5/256+1e-9 && p > 0.01 && p < 0.99 {
			t.Errorf("p=%v became %v", p, 1-float64(m.Keep)/256)
		}
		if (m.Keep == 256) != (p == 0) || (m.Keep == 0) != (p == 1) {
			t.Errorf("p=%v keeps %d of 256", p, m.Keep)
		}
		if mean := float64(m.Scale) * float64(m.Keep) / 256; p < 1 && math.Abs(mean-1) > 1e-7 {
			t.Errorf("p=%v: expectation %v, want 1", p, mean)
		}
	}
}

// The mask is what its definition says, bit by bit.
func TestMaskIsItsDefinition(t *testing.T) {
	const key = 0x0123456789abcdef
	for _, p := range []float32{0.05, 0.5, 0.75} {
		m := random.NewMask(p, key)
		for _, i := range []int{0, 1, 31, 32, 95, 1 << 20, 1<<38 + 77} {
			var number uint32
			for j := range 8 {
				counter := uint64(i/32)*2 + uint64(j/4)
				words := random.Philox4x32([4]uint32{uint32(counter), uint32(counter >> 32)}, [2]uint32{key & 0xffffffff, key >> 32})
				number |= words[j%4] >> (i % 32) & 1 << j
			}
			if got, want := m.Keeps(i), number < m.Keep; got != want {
				t.Errorf("p=%v: element %d with number %d, below %d: kept %v", p, i, number, m.Keep, got)
			}
		}
	}
}

func TestUniformIsUniformAndDependsOnKeyAndIndex(t *testing.T) {
	const n = 1 << 14
	var sum, squares float64
	seen := map[float64]bool{}
	for i := range uint64(n) {
		u := random.Uniform(7, i)
		if u < 0 || u >= 1 {
			t.Fatalf("Uniform(7, %d) = %v", i, u)
		}
		sum += u
		squares += u * u
		seen[u] = true
		seen[random.Uniform(8, i)] = true
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
