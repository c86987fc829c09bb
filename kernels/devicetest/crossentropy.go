package devicetest

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

func crossEntropy(e *env) {
	for _, c := range []struct {
		rows, dim, vocab int
		weights          kernels.DType
		bias             bool
		softcap          float32
		rank             int // of the adapter, 0: none
		drop             float32
	}{
		{1, 1, 1, kernels.F32, false, 0, 0, 0},
		{1, 1, 1, kernels.F32, false, 0, 1, 0},
		{3, 5, 7, kernels.F32, true, 0, 2, 0},
		{17, 24, 33, kernels.BF16, false, 0, 0, 0},
		{9, 16, 130, kernels.F16, true, 3, 0, 0},
		{20, 33, 65, kernels.NF4, false, 2, 5, 0.3},
		{130, 32, 1000, kernels.F32, false, 0, 0, 0},
		{33, 8, 20_011, kernels.BF16, false, 0, 0, 0},
		{1030, 4, 300, kernels.F32, false, 0, 3, 0.1}, // several chunks
		{5, 4, 70_001, kernels.F32, true, 30, 0, 0},
	} {
		for i, l := range layouts {
			name := fmt.Sprintf("LinearCrossEntropy %dx%d by %d %v, bias %v, softcap %v, rank %d, dropout %v, at %d+%d",
				c.rows, c.dim, c.vocab, c.weights, c.bias, c.softcap, c.rank, c.drop, l.off, l.gap)
			x := e.matrix("X", l, c.rows, c.dim, e.normal(c.rows*c.dim))
			head, w := e.weights(c.weights, c.vocab, c.dim)
			below := 0
			if c.weights == e.d.Activations() && l.off > 0 { // with rows of zeros below
				below = 7
				m := e.matrix("Head", layout{}, c.vocab+below, c.dim, append(e.normal(c.vocab*c.dim), make([]float64, below*c.dim)...))
				head, w = m.RowRange(0, c.vocab), m.x[:c.vocab*c.dim]
			}
			scales := e.alloc(kernels.F64, 2)
			e.d.WriteF64(scales, []float64{math.NaN(), 0.25})
			mask, definition := e.mask(c.drop)
			p := kernels.LinearCrossEntropy{X: x.Mat, Head: head, Softcap: c.softcap, Mask: mask, Below: below}
			if i == 0 { // all logits have room there
				p.Room = e.dst("Room", layout{}, c.rows, c.vocab+7).Buf
			}
			o := crossEntropyOracle{LinearCrossEntropy: p, mask: definition, gradScale: 0.25, x: x.x, head: w, dim: c.dim, targets: make([]int32, c.rows)}
			if c.bias {
				o.bias = e.single32(c.vocab)
				p.Bias = e.vector(o.bias)
			}
			for i := range o.targets {
				o.targets[i] = int32(e.rng.IntN(c.vocab))
				if i%5 == 3 {
					o.targets[i] = -1 - int32(i)
				}
			}
			p.Targets = e.ints(o.targets)
			var u, da, db *matrix
			if c.rank > 0 {
				masters := func(name string, rows, cols int) *matrix {
					return e.matrixOf(kernels.F32, name, layouts[0], rows, cols, e.single32(rows*cols))
				}
				a, b := masters("A", c.rank, c.dim), masters("B", c.vocab, c.rank)
				u, da, db = e.dst("U", l, c.rows, c.rank), masters("DA", c.rank, c.dim), masters("DB", c.vocab, c.rank)
				p.LoRA = kernels.LoRA{A: a.Mat, B: b.Mat, U: u.Mat, Scale: 0.5}
				o.a, o.b, o.da, o.db, o.LoRA.Scale = a.x, b.x, append([]float64(nil), da.x...), append([]float64(nil), db.x...), 0.5
			}
			if !e.recording {
				o.run()
			}

			p.Losses = e.alloc(kernels.F32, c.rows)
			e.d.LinearCrossEntropy(p)
			e.checkChain(name+" alone", e.values(p.Losses), o.losses, o.largest(e), 1e-6)

			p.Losses = e.vector(e.normal(c.rows))
			dx := e.dst("DX", l, c.rows, c.dim)
			p.DX, p.GradScale = dx.Mat, kernels.Scalar{Buf: scales, I: 1}
			if c.rank > 0 {
				p.DA, p.DB = da.Mat, db.Mat
			}
			e.d.LinearCrossEntropy(p)
			e.checkChain(name, e.values(p.Losses), o.losses, o.largest(e), 1e-6)
			// A logit's rounding, to F32 or to activations, multiplies its probability.
			tol := 2e-6 + 5*e.unit + o.largest(e)*max(e.unit, 0x1p-24)
			e.within(name+" DX", dx.read(e), o.dx, o.term, tol)
			e.unchanged(x)
			if c.rank > 0 {
				u.read(e)
				e.within(name+" DA", da.read(e), o.da, o.term, tol)
				e.within(name+" DB", db.read(e), o.db, o.term, tol)
			}
		}
		e.free()
	}
}

// crossEntropyOracle is a kernels.LinearCrossEntropy in float64.
type crossEntropyOracle struct {
	kernels.LinearCrossEntropy
	mask          random.Mask
	gradScale     float64
	x, head, bias []float64
	a, b          []float64
	targets       []int32
	dim           int

	losses, dx []float64
	da, db     []float64 // what they hold before, and then the gradient too
	term       float64   // the largest term in a gradient
	logit, raw float64   // the largest logit, and before it is capped
}

// largest is the largest logit whose rounding the results have: narrow activations
// may be rounded before the cap.
func (o *crossEntropyOracle) largest(e *env) float64 {
	if e.unit > 0 {
		return o.raw
	}
	return o.logit
}

func (o *crossEntropyOracle) run() {
	vocab, rows := len(o.head)/o.dim, len(o.targets)
	rank, scale := len(o.b)/vocab, float64(o.LoRA.Scale)
	o.losses, o.dx, o.term = make([]float64, rows), make([]float64, len(o.x)), 0
	seen := dropped(o.mask, o.x)
	u, du := product64(seen, transposed(o.a, rank, o.dim), rows, rank, o.dim), make([]float64, rows*rank)
	for i, target := range o.targets {
		if target < 0 {
			continue
		}
		logits, slopes := make([]float64, vocab), make([]float64, vocab)
		var sum float64
		for v := range logits {
			var z float64
			for j := range o.dim {
				z += o.x[i*o.dim+j] * o.head[v*o.dim+j]
			}
			for j := range rank {
				z += scale * u[i*rank+j] * o.b[v*rank+j]
			}
			if o.bias != nil {
				z += o.bias[v]
			}
			o.raw = max(o.raw, math.Abs(z))
			slopes[v] = 1
			if c := float64(o.Softcap); c > 0 {
				z = c * math.Tanh(z/c)
				slopes[v] = 1 - z*z/(c*c)
			}
			logits[v] = z
			o.logit = max(o.logit, math.Abs(z))
			sum += math.Exp(z)
		}
		o.losses[i] = math.Log(sum) - logits[target]
		for v, z := range logits {
			p := math.Exp(z) / sum
			if v == int(target) {
				p--
			}
			p *= slopes[v] * o.gradScale
			for j := range o.dim {
				g := p * o.head[v*o.dim+j]
				o.dx[i*o.dim+j] += g
				o.term = max(o.term, math.Abs(g))
			}
			for j := range rank {
				gu, gb := scale*p*o.b[v*rank+j], scale*p*u[i*rank+j]
				du[i*rank+j] += gu
				o.db[v*rank+j] += gb
				o.term = max(o.term, math.Abs(gu), math.Abs(gb))
			}
		}
	}
	if rank == 0 {
		return
	}
	plus(o.da, product64(transposed(du, rows, rank), seen, rank, o.dim, rows))
	through := product64(du, o.a, rows, o.dim, rank)
	o.term = max(o.term, largest(through))
	plus(o.dx, dropped(o.mask, through))
}
