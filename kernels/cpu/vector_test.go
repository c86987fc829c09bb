package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// guarded is n random values with noise after them that nobody may write.
func guarded(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n+16)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// Every loop of every level agrees with plain Go, at every length up to a few
// registers, and writes nothing past it.
func TestVectorsAgreeWithPlainGo(t *testing.T) {
	step := &adamStep{0.5, 0.99, 0.01, 1.3, 1e-8, 0.9, 0.1, 0.999, 0.001}
	loops := map[string]func(v *vectors, n int, x [][]float32) []float32{
		"add":      func(v *vectors, n int, x [][]float32) []float32 { v.add(x[0][:n], x[1], x[2]); return nil },
		"multiply": func(v *vectors, n int, x [][]float32) []float32 { v.multiply(x[0][:n], x[1], x[2]); return nil },
		"scale":    func(v *vectors, n int, x [][]float32) []float32 { v.scale(x[0][:n], x[1], 0.3); return nil },
		"axpy":     func(v *vectors, n int, x [][]float32) []float32 { v.axpy(x[0][:n], x[1], 0.3); return nil },
		"dot":      func(v *vectors, n int, x [][]float32) []float32 { return []float32{v.dot(x[0][:n], x[1])} },
		"sum":      func(v *vectors, n int, x [][]float32) []float32 { return []float32{v.sum(x[0][:n])} },
		"sumSq":    func(v *vectors, n int, x [][]float32) []float32 { return []float32{v.sumSq(x[0][:n], 0.5)} },
		"max":      func(v *vectors, n int, x [][]float32) []float32 { return []float32{v.max(x[0][:n])} },
		"exp": func(v *vectors, n int, x [][]float32) []float32 {
			return []float32{v.exp(x[0][:n], x[1], 0.5)}
		},
		"softcap":     func(v *vectors, n int, x [][]float32) []float32 { v.softcap(x[0][:n], x[1], 1.5); return nil },
		"softcapGrad": func(v *vectors, n int, x [][]float32) []float32 { v.softcapGrad(x[0][:n], x[1], 1.5); return nil },
		"softmaxGrad": func(v *vectors, n int, x [][]float32) []float32 { v.softmaxGrad(x[0][:n], x[1], 0.3, 0.7); return nil },
		"GELU": func(v *vectors, n int, x [][]float32) []float32 {
			v.activation[kernels.GELU](x[0][:n], x[1], x[2])
			return nil
		},
		"GELUTanh": func(v *vectors, n int, x [][]float32) []float32 {
			v.activation[kernels.GELUTanh](x[0][:n], x[1], x[2])
			return nil
		},
		"SiLU": func(v *vectors, n int, x [][]float32) []float32 {
			v.activation[kernels.SiLU](x[0][:n], x[1], x[2])
			return nil
		},
		"ReLU": func(v *vectors, n int, x [][]float32) []float32 {
			v.activation[kernels.ReLU](x[0][:n], x[1], x[2])
			return nil
		},
		"normalize": func(v *vectors, n int, x [][]float32) []float32 {
			v.normalize(x[0][:n], x[1], x[2], x[3], 0.1, 1.7)
			return nil
		},
		"normSums": func(v *vectors, n int, x [][]float32) []float32 {
			g, gh := v.normSums(x[0][:n], x[1], x[2], 0.1, 1.7)
			return []float32{g, gh}
		},
		"normGrad": func(v *vectors, n int, x [][]float32) []float32 {
			v.normGrad(x[0][:n], x[1], x[2], x[3], x[4], 0.1, 1.7, 0.3, 0.2)
			return nil
		},
		"rotate": func(v *vectors, n int, x [][]float32) []float32 { v.rotate(x[0][:n], x[1], x[2], x[3], -1); return nil },
		"adamW": func(v *vectors, n int, x [][]float32) []float32 {
			for i := range x[3] {
				x[3][i] = float32(math.Abs(float64(x[3][i])))
			}
			v.adamW(x[0][:n], x[1], x[2], x[3], step)
			return nil
		},
		"dropout": func(v *vectors, n int, x [][]float32) []float32 {
			r := make([]uint32, 32)
			v.random(r, 0x123456789abcdef0, 1<<33+5)
			v.dropout(x[0][:n], x[1], r, 1.5)
			return nil
		},
		"dropoutAdd": func(v *vectors, n int, x [][]float32) []float32 {
			r := make([]uint32, 32)
			v.random(r, 42, 0)
			v.dropoutAdd(x[0][:n], x[1], r, 1.5)
			return nil
		},
	}
	for name, loop := range loops {
		for _, l := range levels() {
			for n := range 70 {
				rng := rand.New(rand.NewPCG(uint64(n), 1))
				got, want := make([][]float32, 5), make([][]float32, 5)
				for i := range got {
					got[i] = guarded(rng, n)
					want[i] = append([]float32(nil), got[i]...)
				}
				got = append(got, loop(&vectorLevels[l], n, got))
				want = append(want, loop(&portableVectors, n, want))
				for i := range got {
					for j, w := range want[i] {
						if diff := math.Abs(float64(got[i][j] - w)); !(diff <= 3e-7*max(1, math.Abs(float64(w)))*math.Sqrt(float64(n+1))) && got[i][j] != w {
							t.Fatalf("%s, %v, %d elements: element %d of slice %d is %v, want %v", name, l, n, j, i, got[i][j], w)
						}
					}
				}
			}
		}
	}
}

// The errors of the transcendental functions against math's, over their whole
// range, and what they do at its ends.
func TestTranscendentalErrors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, l := range levels() {
		v := &vectorLevels[l]
		var worst float64 // relative
		x, y, d := make([]float32, 4000), make([]float32, 4000), make([]float32, 4000)
		for i := range x {
			x[i] = -69 + float32(i)*(88.3+69)/4000
		}
		v.exp(y, x, 0)
		for i := range x {
			want := math.Exp(float64(x[i]))
			worst = max(worst, math.Abs(float64(y[i])-want)/want)
		}
		if worst > 1.5e-7 { // 2^-23 is 1.2e-7
			t.Errorf("%v: exp is off by %.2g", l, worst)
		}
		v.exp(y[:4], []float32{nan, -inf, -1000, 0}, 0)
		if y[0] == y[0] || y[1] != 0 || y[2] != 0 || y[3] != 1 {
			t.Errorf("%v: exp(NaN, -Inf, -1000, 0) = %v", l, y[:4])
		}

		worst = 0
		for i := range x {
			x[i] = -40 + float32(i)*80/4000
		}
		v.softcap(y, x, 4)
		for i := range x {
			want := 4 * math.Tanh(float64(x[i])/4)
			worst = max(worst, math.Abs(float64(y[i])-want)/max(1e-30, math.Abs(want)))
		}
		if worst > 5e-7 {
			t.Errorf("%v: softcap is off by %.2g", l, worst)
		}
		v.softcap(y[:3], []float32{nan, inf, -inf}, 4)
		if y[0] == y[0] || y[1] != 4 || y[2] != -4 {
			t.Errorf("%v: softcap(NaN, Inf, -Inf) = %v", l, y[:3])
		}

		for act := range v.activation {
			var worst, worstSlope float64 // relative to max(1, |x|)
			v.activation[act](y, d, x)
			for i := range x {
				a, da := exactly(kernels.Activation(act), float64(x[i]))
				size := max(1, math.Abs(float64(x[i])))
				worst = max(worst, math.Abs(float64(y[i])-a)/size)
				worstSlope = max(worstSlope, math.Abs(float64(d[i])-da))
			}
			if worst > 1.5e-7 || worstSlope > 6e-7 {
				t.Errorf("%v: activation %d is off by %.2g, its slope by %.2g", l, act, worst, worstSlope)
			}
			v.activation[act](y[:4], d[:4], []float32{nan, 1e4, -1e4, 0})
			if y[0] == y[0] || y[1] != 1e4 || math.Abs(float64(y[2])) > 1e-30 || y[3] != 0 || d[1] != 1 || math.Abs(float64(d[2])) > 1e-25 {
				t.Errorf("%v: activation %d of (NaN, 1e4, -1e4, 0) = %v, slopes %v", l, act, y[:4], d[:4])
			}
		}
	}
}

// exactly returns act(x) and act'(x) in float64.
func exactly(act kernels.Activation, x float64) (a, da float64) {
	switch act {
	case kernels.GELU:
		phi := 0.5 * math.Erfc(-x/math.Sqrt2)
		return x * phi, phi + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	case kernels.GELUTanh: // (1 + tanh u)/2 = sigmoid(2u)
		const c = 0.044715
		k := 2 * math.Sqrt(2/math.Pi)
		s := 1 / (1 + math.Exp(-k*(x+c*x*x*x)))
		return x * s, s + x*s*(1-s)*k*(1+3*c*x*x)
	case kernels.SiLU:
		s := 1 / (1 + math.Exp(-x))
		return x * s, s + x*s*(1-s)
	}
	return max(x, 0), map[bool]float64{true: 1}[x > 0]
}

// The random words are random.Mask's, beyond 32 bits of counter too, and so is what
// is made of them from any element on.
func TestRandomIsTheMask(t *testing.T) {
	const key = 0x0123456789abcdef
	for _, l := range levels() {
		var s scratch
		for _, p := range []float32{0, 0.05, 0.5, 1} {
			mask := random.NewMask(p, key)
			for _, first := range []int{0, 1, 31, 64, 1<<37 - 45} {
				kept := s.kept(&vectorLevels[l], &mask, first, 300)
				for i := range 300 {
					if got, want := kept[i/32]>>(i%32)&1 == 1, mask.Keeps(first+i); got != want {
						t.Fatalf("%v, p=%v: element %d+%d kept %v, want %v", l, p, first, i, got, want)
					}
				}
			}
		}
	}
}

func BenchmarkVectors(b *testing.B) {
	const n = 2048
	rng := rand.New(rand.NewPCG(1, 1))
	x, y, z := guarded(rng, n)[:n], guarded(rng, n)[:n], guarded(rng, n)[:n]
	r := make([]uint32, n/4)
	keep := make([]uint32, n/32+1)
	for _, l := range levels() {
		v := &vectorLevels[l]
		for name, f := range map[string]func(){
			"add":       func() { v.add(z, x, y) },
			"exp":       func() { v.exp(z, x, 0) },
			"softcap":   func() { v.softcap(z, x, 3) },
			"GELU":      func() { v.activation[kernels.GELU](y, z, x) },
			"SiLU":      func() { v.activation[kernels.SiLU](y, z, x) },
			"normalize": func() { v.normalize(z, x, y, y, 0.1, 1) },
			"normGrad":  func() { v.normGrad(z, x, x, y, y, 0.1, 1, 1, 1) },
			"random":    func() { v.random(r, 1, 2) },
			"dropout":   func() { v.dropout(z, x, keep, 1.1) },
		} {
			b.Run(name+"/"+l.String(), func(b *testing.B) {
				b.SetBytes(4 * n)
				for b.Loop() {
					f()
				}
			})
		}
	}
}
