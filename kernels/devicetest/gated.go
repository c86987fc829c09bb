package devicetest

import (
	"fmt"
	"math/rand/v2"

	"github.com/shannon-control/scu/kernels"
)

// gated checks ActivatedLinear and ActivatedLinearGrad, with and without a gate, against the operations that they stand for, which have tests of their own.
func gated(e *env) {
	for i, c := range []gatedCase{
		{act: kernels.SiLU, rows: 5, hidden: 7, width: 9, ranks: [3]int{3, 2, 4}},
		{act: kernels.ReLU, rows: 34, hidden: 64, width: 72, ranks: [3]int{16, 8, 16}, spare: 64},
		{act: kernels.SiLU, rows: 70, hidden: 64, width: 136, ranks: [3]int{16, 16, 16}, spare: 64, norm: &kernels.Norm{Eps: 1e-5}},
		{act: kernels.SiLU, rows: 70, hidden: 64, width: 136, ranks: [3]int{16, 32, 16}, spare: 64, norm: &kernels.Norm{Eps: 1e-5, UnitOffset: true}},
		{act: kernels.SiLU, rows: 40, hidden: 64, width: 72, ranks: [3]int{16, 16, 16}, spare: 64, norm: &kernels.Norm{Eps: 1e-5, LayerNorm: true}, drop: 0.5},
		{act: kernels.SiLU, rows: 40, hidden: 64, width: 72, ranks: [3]int{8, 16, 16}, spare: 64, norm: &kernels.Norm{Eps: 1e-5, UnitOffset: true}, drop: 0.5},
		{act: kernels.SiLU, rows: 9, hidden: 7, width: 9, ranks: [3]int{3, 2, 4}, norm: &kernels.Norm{Eps: 1e-5}},
		{act: kernels.SiLU, rows: 150, hidden: 72, width: 1032, ranks: [3]int{8, 16, 8}, spare: 64, noX: true},
		{act: kernels.GELUTanh, rows: 33, hidden: 64, width: 576, ranks: [3]int{16, 8, 16}, spare: 64, drop: 0.25},
		{act: kernels.SiLU, rows: 17, hidden: 64, width: 64, ranks: [3]int{16, 16, 16}, spare: 64, drop: 0.05, nf4: true},
		{act: kernels.SiLU, rows: 20, hidden: 32, width: 64, ranks: [3]int{32, 16, 16}, spare: 64},
		{act: kernels.SiLU, rows: 20, hidden: 32, width: 64, ranks: [3]int{16, 16, 0}, spare: 64},
		{act: kernels.GELU, rows: 12, hidden: 16, width: 40, ranks: [3]int{8, 0, 8}, spare: 64},
		{act: kernels.GELUTanh, rows: 70, hidden: 64, width: 136, ranks: [3]int{16, 0, 16}, spare: 64, plain: true, bias: true, norm: &kernels.Norm{Eps: 1e-5, LayerNorm: true}},
		{act: kernels.GELUTanh, rows: 33, hidden: 64, width: 576, ranks: [3]int{8, 0, 16}, spare: 64, plain: true, bias: true, drop: 0.25},
		{act: kernels.GELU, rows: 20, hidden: 32, width: 64, ranks: [3]int{16, 0, 16}, spare: 64, plain: true},
		{act: kernels.ReLU, rows: 9, hidden: 7, width: 9, ranks: [3]int{3, 0, 0}, plain: true, bias: true},
	} {
		rng := e.rng
		var all [2][]result
		for j := range all {
			e.rng = rand.New(rand.NewPCG(uint64(i), 3))
			all[j] = e.gated(c, j == 0)
			e.free()
		}
		e.rng = rng
		for j, want := range all[0] {
			got := all[1][j]
			e.checkChain(fmt.Sprintf("gated layer %+v: %s", c, got.name), got.values, want.values, 0, 2e-6)
		}
	}
}

type gatedCase struct {
	act                 kernels.Activation
	rows, hidden, width int
	ranks               [3]int // of gate, up and down
	drop                float32
	spare               int
	noX, nf4            bool
	plain, bias         bool          // without up; Down has a bias
	norm                *kernels.Norm // what made In's X
}

// gated runs a feed-forward layer forward and backward, composed or at once, and returns what it makes.
func (e *env) gated(c gatedCase, composed bool) (made []result) {
	l := layout{0, c.spare}
	if c.spare == 0 {
		l = layouts[1]
	}
	ins := 2 // layers in In: of gate and of up
	if c.plain {
		ins = 1
	}
	wide := ins * c.width
	outs := []int{c.width, c.width, c.hidden}
	random := func(name string, rows, cols int, scale float64) *matrix {
		x := e.normal(rows * cols)
		for i := range x {
			x[i] = e.round(scale * x[i])
		}
		m := e.matrix(name, l, rows, cols, x)
		m.free = true // the room beside it is used
		return m
	}
	h, both := random("h", c.rows, c.hidden, 1), random("gate and up", c.rows, wide, 1)
	x, dy := random("x", c.rows, c.width, 1), random("dy", c.rows, c.hidden, 1)
	out, dout, dh := e.dst("out", l, c.rows, c.hidden), e.dst("dx", layouts[0], c.rows, c.width), e.dst("dh", layouts[0], c.rows, c.hidden)
	out.free = true
	in, down := random("W of gate and up", wide+c.spare, c.hidden, 0.1), random("W of down", c.hidden+c.spare, c.width, 0.1)
	weights := []kernels.Mat{in.RowRange(0, c.width), in.RowRange(wide-c.width, c.width), down.RowRange(0, c.hidden)}
	if c.nf4 {
		for i, w := range weights {
			weights[i], _ = e.quantized(w.Rows, w.Cols)
		}
	}
	mask, _ := e.mask(c.drop)
	seen := []int{c.hidden, c.hidden, c.width}
	var parts [3]kernels.LinearPartGrad
	var us [2]*matrix // of gate and up side by side, of down
	us[0], us[1] = random("u of gate and up", c.rows, c.ranks[0]+c.ranks[1], 1), e.dst("u of down", layouts[0], c.rows, c.ranks[2])
	us[0].free = false
	var grads []*matrix
	for i, r := range c.ranks {
		p := &parts[i]
		p.W = weights[i]
		if r == 0 {
			continue
		}
		master := func(name string, rows, cols int) *matrix {
			return e.matrixOf(kernels.F32, name, layouts[0], rows, cols, e.single32(rows*cols))
		}
		p.LoRA = kernels.LoRA{A: master("A", r, seen[i]).Mat, B: master("B", outs[i], r).Mat, Scale: 0.5}
		da, db := master(fmt.Sprint("DA ", i), r, seen[i]), master(fmt.Sprint("DB ", i), outs[i], r)
		p.DA, p.DB = da.Mat, db.Mat
		grads = append(grads, da, db)
		switch i {
		case 0:
			p.LoRA.U = us[0].Columns(0, r)
		case 1:
			p.LoRA.U = us[0].Columns(c.ranks[0], r)
		case 2:
			p.LoRA.U = us[1].Mat
		}
	}
	gate, up := both.Columns(0, c.width), both.Columns(wide-c.width, c.width)
	parts[0].DY, parts[1].DY, parts[2].DY, parts[2].Dst = gate, up, dy.Mat, out.Mat
	if c.plain {
		up = kernels.Mat{}
	}
	if c.bias {
		parts[2].Bias = e.vector(e.single32(c.hidden))
	}
	keep := func(name string, m *matrix) { made = append(made, result{name, m.read(e)}) }

	forward := kernels.ActivatedLinear{Act: c.act, Gate: gate, Up: up, Linear: kernels.Linear{X: x.Mat, Mask: mask, Parts: []kernels.LinearPart{parts[2].LinearPart}, Spare: c.spare}}
	forward.Mask.Module = 1
	backward := kernels.ActivatedLinearGrad{Act: c.act, Gate: gate, Up: up,
		Down: kernels.LinearGrad{X: x.Mat, DX: dout.Mat, Mask: forward.Mask, Parts: parts[2:], Spare: c.spare},
		In:   kernels.LinearGrad{X: h.Mat, DX: dh.Mat, Mask: mask, Parts: parts[:ins], Spare: c.spare}}
	if c.noX {
		backward.In.DX = kernels.Mat{}
	}
	if composed {
		forward.Compose(e.d)
	} else {
		e.d.ActivatedLinear(forward)
	}
	keep("x", x)
	keep("out", out)
	if c.ranks[2] > 0 {
		keep("u", us[1])
	}
	poison := func(m *matrix) { // what it holds going back doesn't matter
		nan := e.dst(m.name, layouts[0], m.Rows, m.Cols)
		e.d.Copy(m.Mat, nan.Mat)
	}
	poison(x)
	unchanged := []*matrix{us[0], dy}
	if c.norm == nil {
		unchanged = append(unchanged, h)
	} else {
		from := random("the norm's x", c.rows, c.hidden, 1)
		n := *c.norm
		n.X, n.Weight, n.Rstd = from.Mat, e.vector(e.single32(c.hidden)), e.alloc(kernels.F32, c.rows)
		if n.LayerNorm {
			n.Bias, n.Mean = e.vector(e.single32(c.hidden)), e.alloc(kernels.F32, c.rows)
		}
		n.Dst = h.Mat
		e.d.Norm(n)
		n.Dst = kernels.Mat{}
		backward.In.Norm = n
		poison(h)
		unchanged = append(unchanged, from)
	}
	if composed {
		backward.Compose(e.d)
	} else {
		e.d.ActivatedLinearGrad(backward)
	}
	keep("the gradients of gate and up", both)
	for _, g := range grads {
		keep(g.name, g)
	}
	if !c.noX {
		keep("dh", dh)
	}
	// The layers alone.
	alone := backward.In
	if composed {
		alone.Again(e.d)
		alone.Norm = kernels.Norm{}
	} else if c.norm != nil {
		poison(h)
	}
	e.d.LinearGrad(alone)
	for _, g := range grads {
		keep(g.name+" of the layers alone", g)
	}
	e.unchanged(unchanged...)
	return made
}
