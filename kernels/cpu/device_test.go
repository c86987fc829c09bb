package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devicetest"
	"github.com/shannon-control/scu/kernels/reference"
)

// maker makes devices of one level, whatever SCU_CPU says.
func maker(threads int, l level) func() kernels.Device {
	return func() kernels.Device { return newDevice(threads, l) }
}

func TestDevice(t *testing.T) {
	for _, l := range levels() {
		t.Run(l.String(), func(t *testing.T) { devicetest.Run(t, maker(2, l)) })
	}
}

func TestThreadsGiveTheSameBytes(t *testing.T) {
	best := machineLevel()
	devicetest.Identical(t, maker(1, best), maker(2, best), maker(3, best))
}

// Random shapes, against the reference: what the suite's chosen sizes miss.
func TestAttentionOfRandomShapes(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, l := range levels() {
		devices := []kernels.Device{reference.New(kernels.F32), newDevice(2, l)}
		for range 25 {
			kv, group := 1+rng.IntN(3), 1+rng.IntN(3)
			dim, keys := 1+rng.IntN(40), 1+rng.IntN(150)
			p := kernels.Attention{Batch: 1 + rng.IntN(3), KeyLen: keys, QueryLen: 1 + rng.IntN(keys), Scale: 0.3,
				Window: rng.IntN(2) * rng.IntN(keys+9), Softcap: float32(rng.IntN(2) * 3)}
			rows, columns := p.Batch*p.QueryLen, kv*group*dim
			values := make([]float32, 4*p.Batch*keys*columns)
			for i := range values {
				values[i] = float32(rng.NormFloat64())
			}
			var first []float32
			for _, d := range devices {
				buf := func(n int) kernels.Buffer {
					b, err := d.Alloc(kernels.F32, n)
					if err != nil {
						t.Fatal(err)
					}
					return b
				}
				all := buf(len(values))
				d.WriteF32(all, values)
				heads := func(part, rows, cols int) kernels.Heads {
					return kernels.HeadsOf(kernels.Matrix(all.Slice(part*len(values)/4, rows*cols), rows, cols), dim)
				}
				results := buf(2*rows*columns + 2*p.Batch*keys*kv*dim)
				at := 0
				result := func(rows, cols int) kernels.Heads {
					at += rows * cols
					return kernels.HeadsOf(kernels.Matrix(results.Slice(at-rows*cols, rows*cols), rows, cols), dim)
				}
				p.Q, p.K, p.V = heads(0, rows, columns), heads(1, p.Batch*keys, kv*dim), heads(2, p.Batch*keys, kv*dim)
				p.Out, p.LSE = result(rows, columns), buf(rows*kv*group)
				d.Attention(p)
				d.AttentionGrad(kernels.AttentionGrad{Attention: p, DOut: heads(3, rows, columns), DQ: result(rows, columns),
					DK: result(p.Batch*keys, kv*dim), DV: result(p.Batch*keys, kv*dim)})
				got := make([]float32, results.Len())
				if err := d.ReadF32(got, results); err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = got
					continue
				}
				for i, want := range first {
					if diff := math.Abs(float64(got[i] - want)); !(diff < 2e-5*max(1, math.Abs(float64(want)))) {
						t.Fatalf("%s, %+v, %d/%d heads of %d: result %d is %v, want %v", d.Name(), p, kv*group, kv, dim, i, got[i], want)
					}
				}
			}
		}
		for _, d := range devices {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A loss that is not a number is seen, not hidden.
func TestNaNReachesTheLoss(t *testing.T) {
	for _, l := range levels() {
		d := newDevice(2, l)
		buf := func(x ...float32) kernels.Buffer {
			b, err := d.Alloc(kernels.F32, len(x))
			if err != nil {
				t.Fatal(err)
			}
			d.WriteF32(b, x)
			return b
		}
		nan := float32(math.NaN())
		x := kernels.Matrix(buf(1, 2, nan, 4, 5, 6, 7, 8), 4, 2) // row 1 is broken
		losses, targets := buf(0, 0, 0, 0), []int32{0, 1, 2, 3}
		ids, err := d.Alloc(kernels.I32, 4)
		if err != nil {
			t.Fatal(err)
		}
		d.WriteI32(ids, targets)
		steps := map[string]func(){
			"Norm": func() { d.Norm(kernels.Norm{Dst: x, X: x, Eps: 1e-5}) },
			"Gate": func() { d.Gate(kernels.SiLU, x, x, x) },
			"Attention": func() {
				h, out := kernels.HeadsOf(x, 2), kernels.Matrix(buf(make([]float32, 8)...), 4, 2)
				d.Attention(kernels.Attention{Batch: 1, QueryLen: 4, KeyLen: 4, Q: h, K: h, V: h, Out: kernels.HeadsOf(out, 2), LSE: buf(0, 0, 0, 0), Scale: 1})
				d.Copy(x, out)
			},
			"none": func() {},
		}
		for name, step := range steps {
			d.WriteF32(x.Buf, []float32{1, 2, nan, 4, 5, 6, 7, 8})
			step()
			d.LinearCrossEntropy(kernels.LinearCrossEntropy{X: x, Head: kernels.Matrix(buf(1, 0, 0, 1, 1, 1, 0, 0), 4, 2), Targets: ids, Losses: losses})
			got := make([]float32, 4)
			if err := d.ReadF32(got, losses); err != nil {
				t.Fatal(err)
			}
			if got[1] == got[1] {
				t.Errorf("%v, after %s: losses %v: the second should be NaN", l, name, got)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
