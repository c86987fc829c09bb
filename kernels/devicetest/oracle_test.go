package devicetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// agree compares an oracle's gradient with central differences of f, which reads
// x: every element, to 1e-7 of the largest.
func agree(t *testing.T, name string, x, gradient []float64, f func() float64) {
	t.Helper()
	const h = 1e-3
	at := func(i int, d float64) float64 {
		old := x[i]
		defer func() { x[i] = old }()
		x[i] = old + d
		return f()
	}
	var top float64
	for _, g := range gradient {
		top = max(top, math.Abs(g))
	}
	for i, g := range gradient {
		slope := (8*(at(i, h)-at(i, -h)) - (at(i, 2*h) - at(i, -2*h))) / (12 * h)
		if math.Abs(slope-g) > 1e-7*top {
			t.Errorf("%s: gradient %d is %v, by differences %v", name, i, g, slope)
		}
	}
}

func numbers(rng *rand.Rand, n int) []float64 {
	return each(n, func(int) float64 { return rng.NormFloat64() })
}

func sumOfProducts(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

func TestNormOracleGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, p := range []kernels.Norm{{Eps: 1e-5}, {Eps: 0.1, UnitOffset: true}, {Eps: 1e-5, LayerNorm: true}} {
		x, w, b, dy := numbers(rng, 9), numbers(rng, 9), numbers(rng, 9), numbers(rng, 9)
		grad, _ := normGradOracle(p, x, w, dy)
		agree(t, fmt.Sprintf("%+v", p), x, grad, func() float64 {
			y, _, _ := normOracle(p, x, w, b)
			return sumOfProducts(y, dy)
		})
	}
}

func TestAttentionOracleGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, p := range []kernels.Attention{
		{Batch: 2, QueryLen: 5, KeyLen: 5, Scale: 0.5},
		{Batch: 1, QueryLen: 3, KeyLen: 7, Scale: 0.5, Window: 3},
		{Batch: 1, QueryLen: 6, KeyLen: 6, Scale: 0.7, Softcap: 1.5},
		{Batch: 2, QueryLen: 4, KeyLen: 4, Scale: 0.7, Window: 2, Softcap: 1.5},
	} {
		const n, kn, dim = 4, 2, 3
		o := attentionOracle{Attention: p, n: n, kn: kn, dim: dim, q: numbers(rng, p.Batch*p.QueryLen*n*dim),
			k: numbers(rng, p.Batch*p.KeyLen*kn*dim), v: numbers(rng, p.Batch*p.KeyLen*kn*dim)}
		if p.KeyLen == 4 {
			o.starts = []int32{0, 0, 2, 2, 0, 1, 1, 1}
		}
		dout := numbers(rng, len(o.q))
		o.forward()
		o.backward(dout)
		f := func() float64 {
			o.forward()
			return sumOfProducts(o.out, dout)
		}
		name := fmt.Sprintf("window %d softcap %v", p.Window, p.Softcap)
		agree(t, name+" dq", o.q, o.dq, f)
		agree(t, name+" dk", o.k, o.dk, f)
		agree(t, name+" dv", o.v, o.dv, f)
	}
}

func TestCrossEntropyOracleGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, softcap := range []float32{0, 2} {
		o := crossEntropyOracle{LinearCrossEntropy: kernels.LinearCrossEntropy{Softcap: softcap, LoRA: kernels.LoRA{Scale: 0.7}}, gradScale: 0.5,
			mask: random.NewMask(0.3, 9), x: numbers(rng, 3*4), head: numbers(rng, 7*4), bias: numbers(rng, 7), a: numbers(rng, 2*4), b: numbers(rng, 7*2), targets: []int32{2, -1, 6}, dim: 4}
		run := func() float64 {
			o.da, o.db = make([]float64, len(o.a)), make([]float64, len(o.b))
			o.run()
			var sum float64
			for _, loss := range o.losses {
				sum += loss
			}
			return sum * o.gradScale
		}
		run()
		name := fmt.Sprintf("softcap %v", softcap)
		dx, da, db := o.dx, o.da, o.db // run makes others
		agree(t, name+" dx", o.x, dx, run)
		agree(t, name+" da", o.a, da, run)
		agree(t, name+" db", o.b, db, run)
	}
}
