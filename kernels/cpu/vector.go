package cpu

// The inner loops of everything but matrix products: plain functions over slices
// of F32, each in plain Go here and in vector instructions in vector_amd64.h.
// No slice may be shorter than the first; the first sets the length. What is
// written may be an input at the same place, and may not overlap one otherwise.

import (
	"math"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// vectors is one level's loops.
type vectors struct {
	add      func(dst, a, b []float32)               // dst = a + b
	multiply func(dst, a, b []float32)               // dst = a b
	scale    func(dst, x []float32, alpha float32)   // dst = alpha x
	axpy     func(dst, x []float32, alpha float32)   // dst += alpha x
	dot      func(a, b []float32) float32            // sum of a b
	sum      func(x []float32) float32               // sum of x
	sumSq    func(x []float32, mean float32) float32 // sum of (x - mean)^2
	max      func(x []float32) float32               // the largest, -Inf for none; a NaN may be overlooked

	// exp sets dst = exp(x - shift) and returns its sum. Below -69 the result is 0:
	// 1e-30 is nothing in a softmax, and products with it would be subnormal
	// numbers, which are slow. Above 88.3 it is 2.4e38; a NaN stays one.
	exp func(dst, x []float32, shift float32) float32
	// softcap sets dst = limit tanh(x / limit).
	softcap func(dst, x []float32, limit float32)
	// softcapGrad multiplies d by the slope of softcap where it gave y: 1 - (y/limit)^2.
	softcapGrad func(d, y []float32, limit float32)
	// softmaxGrad sets ds = p (ds - delta) scale.
	softmaxGrad func(ds, p []float32, delta, scale float32)

	// activation sets a = act(x) and da = act'(x).
	activation [kernels.ReLU + 1]func(a, da, x []float32)

	// normalize sets dst = (x - mean) rstd w + b.
	normalize func(dst, x, w, b []float32, mean, rstd float32)
	// normSums returns the sums of g = w dy and of g h, with h = (x - mean) rstd.
	normSums func(x, w, dy []float32, mean, rstd float32) (g, gh float32)
	// normGrad sets dx = plus + rstd (w dy - g - h gh), g and gh being means now.
	normGrad func(dx, plus, x, w, dy []float32, mean, rstd, g, gh float32)

	// rotate sets (a, b) = (a cos - b sin, b cos + a sin), sin times sign.
	rotate func(a, b, cos, sin []float32, sign float32)

	// random fills r, a multiple of 32 words long, with the words of random.Mask
	// from a counter on.
	random func(r []uint32, key, counter uint64)
	// dropout sets dst = scale x where keep has a 1, of which bit i of word j is
	// element 32j + i, and 0 elsewhere; dropoutAdd adds that to dst. A word of keep
	// past the length is readable.
	dropout    func(dst, x []float32, keep []uint32, scale float32)
	dropoutAdd func(dst, x []float32, keep []uint32, scale float32)

	adamW func(w, g, m, v []float32, s *adamStep)
}

// adamStep is adamScalars in F32, with what else a step needs.
type adamStep struct {
	clip, decay, rate, rootBias2, eps float32
	beta1, rest1, beta2, rest2        float32 // rest is 1 - beta
}

var portableVectors = vectors{
	add: func(dst, a, b []float32) {
		for i := range dst {
			dst[i] = a[i] + b[i]
		}
	},
	multiply: func(dst, a, b []float32) {
		for i := range dst {
			dst[i] = a[i] * b[i]
		}
	},
	scale: func(dst, x []float32, alpha float32) {
		for i := range dst {
			dst[i] = alpha * x[i]
		}
	},
	axpy: func(dst, x []float32, alpha float32) {
		for i := range dst {
			dst[i] += alpha * x[i]
		}
	},
	dot: func(a, b []float32) (sum float32) {
		var lanes [8]float32
		b = b[:len(a)]
		for len(a) >= 8 {
			for l := range lanes {
				lanes[l] += a[l] * b[l]
			}
			a, b = a[8:], b[8:]
		}
		for l := range a {
			lanes[l] += a[l] * b[l]
		}
		return total(&lanes)
	},
	sum: func(x []float32) float32 {
		var lanes [8]float32
		for len(x) >= 8 {
			for l := range lanes {
				lanes[l] += x[l]
			}
			x = x[8:]
		}
		for l := range x {
			lanes[l] += x[l]
		}
		return total(&lanes)
	},
	sumSq: func(x []float32, mean float32) float32 {
		var lanes [8]float32
		for len(x) >= 8 {
			for l := range lanes {
				lanes[l] += (x[l] - mean) * (x[l] - mean)
			}
			x = x[8:]
		}
		for l := range x {
			lanes[l] += (x[l] - mean) * (x[l] - mean)
		}
		return total(&lanes)
	},
	max: func(x []float32) float32 {
		top := float32(math.Inf(-1))
		for _, v := range x {
			if v > top {
				top = v
			}
		}
		return top
	},
	exp: func(dst, x []float32, shift float32) float32 {
		var lanes [8]float32
		for i := range dst {
			e := expPortable(x[i] - shift)
			dst[i] = e
			lanes[i&7] += e
		}
		return total(&lanes)
	},
	softcap: func(dst, x []float32, limit float32) {
		for i := range dst {
			dst[i] = limit * float32(math.Tanh(float64(x[i]/limit)))
		}
	},
	softcapGrad: func(d, y []float32, limit float32) {
		for i := range d {
			t := y[i] / limit
			d[i] *= 1 - t*t
		}
	},
	softmaxGrad: func(ds, p []float32, delta, scale float32) {
		for i := range ds {
			ds[i] = p[i] * (ds[i] - delta) * scale
		}
	},
	activation: [...]func(a, da, x []float32){
		kernels.GELU: func(a, da, x []float32) {
			for i := range a {
				v := x[i]
				e := expPortable(-0.5 * v * v)
				t := 1 / (1 + 0.35*float32(math.Abs(float64(v))))
				p := float32(-0.0295765437)
				p = p*t + 0.146069035
				p = p*t - 0.260032892
				p = p*t + 0.164063498
				p = p*t - 0.0264226943
				p = p*t + 0.106876463
				p = p*t + 0.119498141
				p = p*t + 0.139905974
				p = p*t + 0.139619023
				phi := p * t * e // Phi(-|x|), see vector_amd64.h
				if v > 0 {
					phi = 1 - phi
				}
				a[i], da[i] = v*phi, phi+v*0.39894228*e
			}
		},
		kernels.GELUTanh: func(a, da, x []float32) {
			const k, c = 1.5957691216057308, 0.044715 // 2 sqrt(2/pi)
			for i := range a {
				v := x[i]
				e := expPortable(-k * (v + c*v*v*v))
				s := 1 / (1 + e)
				a[i], da[i] = v*s, s+v*s*(e*s)*(k*(1+3*c*v*v))
			}
		},
		kernels.SiLU: func(a, da, x []float32) {
			for i := range a {
				e := expPortable(-x[i])
				s := 1 / (1 + e)
				a[i], da[i] = x[i]*s, s+x[i]*s*(e*s)
			}
		},
		kernels.ReLU: func(a, da, x []float32) {
			for i := range a {
				v, d := x[i], float32(1)
				if v <= 0 {
					v, d = 0, 0
				}
				a[i], da[i] = v, d
			}
		},
	},
	normalize: func(dst, x, w, b []float32, mean, rstd float32) {
		for i := range dst {
			dst[i] = (x[i]-mean)*rstd*w[i] + b[i]
		}
	},
	normSums: func(x, w, dy []float32, mean, rstd float32) (float32, float32) {
		var g, gh [8]float32
		for i := range x {
			v := w[i] * dy[i]
			g[i&7] += v
			gh[i&7] += v * ((x[i] - mean) * rstd)
		}
		return total(&g), total(&gh)
	},
	normGrad: func(dx, plus, x, w, dy []float32, mean, rstd, g, gh float32) {
		for i := range dx {
			dx[i] = plus[i] + rstd*(w[i]*dy[i]-g-(x[i]-mean)*rstd*gh)
		}
	},
	rotate: func(a, b, cos, sin []float32, sign float32) {
		for i := range a {
			x, y, c, s := a[i], b[i], cos[i], sin[i]*sign
			a[i], b[i] = x*c-y*s, y*c+x*s
		}
	},
	random: func(r []uint32, key, counter uint64) {
		for i := 0; i < len(r); i += 4 {
			c := counter + uint64(i/4)
			words := random.Philox4x32([4]uint32{uint32(c), uint32(c >> 32)}, [2]uint32{uint32(key), uint32(key >> 32)})
			copy(r[i:], words[:])
		}
	},
	dropout: func(dst, x []float32, keep []uint32, scale float32) {
		for i := range dst {
			v := x[i] * scale
			if keep[i/32]>>(i%32)&1 == 0 {
				v = 0
			}
			dst[i] = v
		}
	},
	dropoutAdd: func(dst, x []float32, keep []uint32, scale float32) {
		for i := range dst {
			if keep[i/32]>>(i%32)&1 == 1 {
				dst[i] += x[i] * scale
			}
		}
	},
	adamW: func(w, g, m, v []float32, s *adamStep) {
		for i := range w {
			grad := g[i] * s.clip
			m[i] = s.beta1*m[i] + s.rest1*grad
			v[i] = s.beta2*v[i] + s.rest2*grad*grad
			root := float32(math.Sqrt(float64(v[i])))
			w[i] = w[i]*s.decay - s.rate*m[i]/(root*s.rootBias2+s.eps)
		}
	},
}

// total adds lanes up in the order of the vector instructions: halves, quarters,
// neighbours.
func total(x *[8]float32) float32 {
	return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

// expPortable is the vector code's exp: x = n ln 2 + r with |r| <= ln(2)/2, and a
// polynomial of degree 7 for exp(r), whose coefficients are those of Moshier's
// Cephes library (expf). The error is below 2 units in the last place.
func expPortable(x float32) float32 {
	const (
		lo, hi       = -69, 88.3762626647949
		magic        = 3 << 22 // adding it rounds to an integer, in the low bits
		ln2Hi, ln2Lo = 0.693359375, -2.12194440e-4
	)
	if x < lo {
		return 0
	}
	if x > hi {
		x = hi
	}
	t := x*math.Log2E + magic
	n := t - magic
	r := x - n*ln2Hi
	r -= n * ln2Lo
	p := float32(1.9875691500e-4)
	p = p*r + 1.3981999507e-3
	p = p*r + 8.3334519073e-3
	p = p*r + 4.1665795894e-2
	p = p*r + 1.6666665459e-1
	p = p*r + 5.0000001201e-1
	p = p*r + 1
	p = p*r + 1
	return math.Float32frombits(math.Float32bits(p) + math.Float32bits(t)<<23)
}
