package cpu

// The reference device: every operation as the plainest loop that is right, one
// thread, sums in float64. Slow. The other devices are checked against it, and
// so is what is built on the operations.

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

type reference struct{ memory }

// NewReference returns the plain device.
func NewReference() kernels.Device { return &reference{} }

func (d *reference) Name() string { return "cpu (reference)" }

// Scratch is none that is kept.
func (d *reference) Scratch(...any) int64 { return 0 }

func (d *reference) Close() error {
	d.freeAll()
	return nil
}

func (d *reference) Zero(kb kernels.Buffer) {
	b := kb.(*buffer)
	clear(b.f32)
	clear(b.f64)
	clear(b.u64)
	clear(b.i32)
	clear(b.u16)
}

func (d *reference) Copy(dst, src kernels.Mat) {
	to, from := matrix("Copy", dst), matrix("Copy", src)
	to.want("Copy", from.rows, from.cols)
	row := make([]float32, from.cols)
	for i := range from.rows {
		from.widen(row, from.off+i*from.stride)
		to.narrow(to.off+i*to.stride, row)
	}
}

func (d *reference) Add(dst, a, b kernels.Mat) {
	y := floats("Add", dst)
	x1, x2 := shaped("Add", a, y.rows, y.cols), shaped("Add", b, y.rows, y.cols)
	for i := range y.rows {
		for j := range y.cols {
			y.row(i)[j] = x1.row(i)[j] + x2.row(i)[j]
		}
	}
}

func (d *reference) Axpy(y kernels.Buffer, alpha kernels.Scalar, x kernels.Buffer) {
	dst, a := flat("Axpy", y), *double("Axpy", alpha)
	for i, v := range vector("Axpy", x, len(dst)) {
		dst[i] = float32(float64(dst[i]) + a*float64(v))
	}
}

func (d *reference) Embed(p kernels.Embed) {
	y, t, ids := embedArgs(p)
	row := make([]float32, y.cols)
	for i, id := range ids {
		t.widen(row, t.off+int(id)*t.stride)
		for j, v := range row {
			if p.Add {
				y.row(i)[j] += p.Scale * v
			} else {
				y.row(i)[j] = p.Scale * v
			}
		}
	}
}

func (d *reference) MatMul(g kernels.MatMul) {
	m, n, _ := matMulShape(g)
	a := widened(matrix("MatMul", g.A), g.TransA)  // [m][k]
	b := widened(matrix("MatMul", g.B), !g.TransB) // [n][k]
	dst := shaped("MatMul", g.Dst, m, n)
	bias := vector("MatMul", g.Bias, n)
	for i := range m {
		for j := range n {
			sum := float64(g.Alpha) * dot(a[i], b[j])
			if bias != nil {
				sum += float64(bias[j])
			}
			if g.Beta != 0 { // where it is 0, Dst may hold anything, even NaN
				sum += float64(g.Beta) * float64(dst.row(i)[j])
			}
			dst.row(i)[j] = float32(sum)
		}
	}
}

func (d *reference) Linear(p kernels.Linear) {
	for _, l := range p.Parts {
		d.MatMul(kernels.MatMul{Dst: l.Dst, A: p.X, B: l.W, TransB: !l.Conv1D, Alpha: 1, Bias: l.Bias})
		if l.LoRA.A.Buf != nil {
			d.lowRank(p.X, l.LoRA, p.Mask)
			d.MatMul(kernels.MatMul{Dst: l.Dst, A: l.LoRA.U, B: l.LoRA.B, TransB: true, Alpha: l.LoRA.Scale, Beta: 1})
		}
	}
}

func (d *reference) LinearGrad(p kernels.LinearGrad) {
	for i, l := range p.Parts {
		if p.DX.Buf != nil {
			beta := float32(0)
			if p.Accumulate || i > 0 {
				beta = 1
			}
			d.MatMul(kernels.MatMul{Dst: p.DX, A: l.DY, B: l.W, TransB: l.Conv1D, Alpha: 1, Beta: beta})
		}
		if l.LoRA.A.Buf != nil {
			du := d.matrix(p.X.Rows, l.LoRA.A.Rows)
			d.MatMul(kernels.MatMul{Dst: l.DB, A: l.DY, B: l.LoRA.U, TransA: true, Alpha: l.LoRA.Scale, Beta: 1})
			d.MatMul(kernels.MatMul{Dst: du, A: l.DY, B: l.LoRA.B, Alpha: l.LoRA.Scale})
			d.lowRankGrad(p.X, p.DX, p.Mask, l.LoRA.A, l.DA, du)
		}
	}
}

// matrix is memory of the collector's.
func (d *reference) matrix(rows, cols int) kernels.Mat {
	b := &buffer{dtype: kernels.F32, n: rows * cols, f32: make([]float32, rows*cols)}
	return kernels.Matrix(b, rows, cols)
}

// lowRank sets U = drop(x) A^T.
func (d *reference) lowRank(x kernels.Mat, l kernels.LoRA, m kernels.Mask) {
	d.MatMul(kernels.MatMul{Dst: l.U, A: d.dropped(x, m), B: l.A, TransB: true, Alpha: 1})
}

func (d *reference) dropped(x kernels.Mat, m kernels.Mask) kernels.Mat {
	t := d.matrix(x.Rows, x.Cols)
	d.Dropout(kernels.Dropout{Dst: t, Src: x, Mask: m})
	return t
}

// lowRankGrad is the backward pass of lowRank: DA += DU^T drop(X) and, if DX has a
// buffer, DX += drop(DU A).
func (d *reference) lowRankGrad(x, dx kernels.Mat, m kernels.Mask, a, da, du kernels.Mat) {
	d.MatMul(kernels.MatMul{Dst: da, A: du, B: d.dropped(x, m), TransA: true, Alpha: 1, Beta: 1})
	switch {
	case dx.Buf == nil:
	case m.P == 0:
		d.MatMul(kernels.MatMul{Dst: dx, A: du, B: a, Alpha: 1, Beta: 1})
	default:
		t := d.matrix(dx.Rows, dx.Cols)
		d.MatMul(kernels.MatMul{Dst: t, A: du, B: a, Alpha: 1})
		d.Dropout(kernels.Dropout{Dst: dx, Src: t, Mask: m, Add: true})
	}
}

// widened copies a matrix to F32 rows, or its transpose's.
func widened(m mat, transpose bool) [][]float32 {
	rows := make([][]float32, m.rows)
	for i := range rows {
		rows[i] = make([]float32, m.cols)
		m.widen(rows[i], m.off+i*m.stride)
	}
	if !transpose {
		return rows
	}
	t := make([][]float32, m.cols)
	for j := range t {
		t[j] = make([]float32, m.rows)
		for i := range rows {
			t[j][i] = rows[i][j]
		}
	}
	return t
}

func dot(a, b []float32) (sum float64) {
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

func (d *reference) Norm(p kernels.Norm) {
	n := normArgs(p)
	x, y := n.x, shaped("Norm", p.Dst, n.x.rows, n.x.cols)
	for i := range x.rows {
		mean, rstd := n.moments(i)
		if n.mean != nil {
			n.mean[i] = float32(mean)
		}
		if n.rstd != nil {
			n.rstd[i] = float32(rstd)
		}
		for j, v := range x.row(i) {
			y.row(i)[j] = float32((float64(v)-mean)*rstd*n.scale(j) + n.shift(j))
		}
	}
}

func (d *reference) AddNorm(p kernels.AddNorm) {
	d.Add(p.X, p.A, p.B)
	d.Norm(p.Norm)
}

func (d *reference) NormGrad(p kernels.NormGrad) {
	n := normArgs(p.Norm)
	x := n.x
	dx, dy := shaped("NormGrad", p.DX, x.rows, x.cols), shaped("NormGrad", p.DY, x.rows, x.cols)
	for i := range x.rows {
		var mean, rstd float64 = 0, float64(n.rstd[i])
		if p.LayerNorm {
			mean = float64(n.mean[i])
		}
		// With h = (x - mean) rstd and g = w dy: dx = rstd (g - mean(g) - h mean(g h)),
		// without mean(g) for RMSNorm.
		var g, gh float64
		for j, v := range x.row(i) {
			wdy := n.scale(j) * float64(dy.row(i)[j])
			g += wdy
			gh += wdy * (float64(v) - mean) * rstd
		}
		g, gh = g/float64(x.cols), gh/float64(x.cols)
		if !p.LayerNorm {
			g = 0
		}
		for j, v := range x.row(i) {
			h := (float64(v) - mean) * rstd
			grad := rstd * (n.scale(j)*float64(dy.row(i)[j]) - g - h*gh)
			if p.Accumulate {
				grad += float64(dx.row(i)[j])
			}
			dx.row(i)[j] = float32(grad)
		}
	}
}

// moments of row i: the mean (0 for RMSNorm) and 1/sqrt(variance + Eps).
func (n *norm) moments(i int) (mean, rstd float64) {
	row := n.x.row(i)
	if n.LayerNorm {
		for _, v := range row {
			mean += float64(v)
		}
		mean /= float64(len(row))
	}
	var squares float64
	for _, v := range row {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	return mean, 1 / math.Sqrt(squares/float64(len(row))+float64(n.Eps))
}

func (n *norm) scale(j int) float64 {
	switch {
	case n.weight == nil:
		return 1
	case n.UnitOffset:
		return 1 + float64(n.weight[j])
	}
	return float64(n.weight[j])
}

func (n *norm) shift(j int) float64 {
	if n.bias == nil {
		return 0
	}
	return float64(n.bias[j])
}

func (d *reference) RoPE(p kernels.RoPE) {
	x := headsOf("RoPE", p.X, p.Rows)
	cos, sin, position := ropeArgs(p)
	for r := range p.Rows {
		at := position(r) * p.Half
		for h := range x.n {
			v := x.at(r, h)
			for i := range p.Half {
				c, s := float64(cos[at+i]), float64(sin[at+i])
				if p.Inverse {
					s = -s
				}
				a, b := float64(v[i]), float64(v[i+p.Half])
				v[i], v[i+p.Half] = float32(a*c-b*s), float32(b*c+a*s)
			}
		}
	}
}

func (d *reference) Activate(act kernels.Activation, dst, x kernels.Mat) {
	y, in := floats("Activate", dst), shaped("Activate", x, dst.Rows, dst.Cols)
	for i := range y.rows {
		for j, v := range in.row(i) {
			a, _ := activation(act, float64(v))
			y.row(i)[j] = float32(a)
		}
	}
}

func (d *reference) ActivateGrad(act kernels.Activation, dx, x, dy kernels.Mat) {
	gx := floats("ActivateGrad", dx)
	in, gy := shaped("ActivateGrad", x, gx.rows, gx.cols), shaped("ActivateGrad", dy, gx.rows, gx.cols)
	for i := range gx.rows {
		for j, v := range in.row(i) {
			_, da := activation(act, float64(v))
			gx.row(i)[j] = float32(float64(gy.row(i)[j]) * da)
		}
	}
}

func (d *reference) Gate(act kernels.Activation, dst, gate, up kernels.Mat) {
	y := floats("Gate", dst)
	g, u := shaped("Gate", gate, y.rows, y.cols), shaped("Gate", up, y.rows, y.cols)
	for i := range y.rows {
		for j := range y.cols {
			a, _ := activation(act, float64(g.row(i)[j]))
			y.row(i)[j] = float32(a * float64(u.row(i)[j]))
		}
	}
}

func (d *reference) GateGrad(act kernels.Activation, dgate, dup, gate, up, dy kernels.Mat) {
	dg := floats("GateGrad", dgate)
	du, g := shaped("GateGrad", dup, dg.rows, dg.cols), shaped("GateGrad", gate, dg.rows, dg.cols)
	u, gy := shaped("GateGrad", up, dg.rows, dg.cols), shaped("GateGrad", dy, dg.rows, dg.cols)
	for i := range dg.rows {
		for j := range dg.cols {
			a, da := activation(act, float64(g.row(i)[j]))
			y := float64(gy.row(i)[j])
			dg.row(i)[j], du.row(i)[j] = float32(y*float64(u.row(i)[j])*da), float32(y*a)
		}
	}
}

// activation returns act(x) and act'(x).
func activation(act kernels.Activation, x float64) (a, da float64) {
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
	case kernels.ReLU:
		if x > 0 {
			return x, 1
		}
		return 0, 0
	}
	panic(fmt.Sprintf("cpu: no activation %d", act))
}

func (d *reference) Dropout(p kernels.Dropout) {
	y := floats("Dropout", p.Dst)
	x := shaped("Dropout", p.Src, y.rows, y.cols)
	mask := maskOf(p.Mask)
	for i := range y.rows {
		for j, v := range x.row(i) {
			if !mask.Keeps(i*y.cols + j) {
				v = 0
			}
			if p.Add {
				y.row(i)[j] += v * mask.Scale
			} else {
				y.row(i)[j] = v * mask.Scale
			}
		}
	}
}

func (d *reference) Attention(p kernels.Attention) {
	a := attentionArgs(p)
	a.rows(func(b, h, i int) {
		scores := a.scores(b, h, i)
		lse := logSumExp(scores)
		a.lse[(b*a.q.n+h)*p.QueryLen+i] = float32(lse)
		out := make([]float64, a.q.dim)
		for j, s := range scores {
			prob := math.Exp(s - lse)
			for l, v := range a.v.at(b*p.KeyLen+a.first(b, i)+j, h/a.group) {
				out[l] += prob * float64(v)
			}
		}
		for l, v := range out {
			a.out.at(b*p.QueryLen+i, h)[l] = float32(v)
		}
	})
}

func (d *reference) AttentionGrad(p kernels.AttentionGrad) {
	a := attentionArgs(p.Attention)
	dout, dq, dk, dv := a.gradArgs(p)
	keys := a.Batch * a.KeyLen
	width := a.k.n * a.k.dim
	gk, gv := make([]float64, keys*width), make([]float64, keys*width)
	a.rows(func(b, h, i int) {
		row, kh := b*p.QueryLen+i, h/a.group
		q, do := a.q.at(row, h), dout.at(row, h)
		delta := dot(do, a.out.at(row, h)) // sum over j of p_j dp_j
		lse := float64(a.lse[(b*a.q.n+h)*p.QueryLen+i])
		gq := make([]float64, a.q.dim)
		scores := a.scores(b, h, i)
		for j, s := range scores {
			key := b*p.KeyLen + a.first(b, i) + j
			prob := math.Exp(s - lse)
			ds := prob * (dot(do, a.v.at(key, kh)) - delta)
			if p.Softcap > 0 {
				t := s / float64(p.Softcap)
				ds *= 1 - t*t
			}
			ds *= float64(p.Scale)
			if len(scores) == 1 { // all of one key, whatever its score: not even a rounding error
				ds = 0
			}
			k := a.k.at(key, kh)
			for l := range gq {
				gq[l] += ds * float64(k[l])
				gk[key*width+kh*a.k.dim+l] += ds * float64(q[l])
				gv[key*width+kh*a.k.dim+l] += prob * float64(do[l])
			}
		}
		for l, g := range gq {
			dq.at(row, h)[l] = float32(g)
		}
	})
	for r := range keys {
		for h := range a.k.n {
			for l := range a.k.dim {
				dk.at(r, h)[l] = float32(gk[r*width+h*a.k.dim+l])
				dv.at(r, h)[l] = float32(gv[r*width+h*a.k.dim+l])
			}
		}
	}
}

// rows calls f for each batch row, query head and query.
func (a *attention) rows(f func(b, h, i int)) {
	for b := range a.Batch {
		for h := range a.q.n {
			for i := range a.QueryLen {
				f(b, h, i)
			}
		}
	}
}

// scores of query i of head h with the keys that it sees.
func (a *attention) scores(b, h, i int) []float64 {
	q := a.q.at(b*a.QueryLen+i, h)
	s := make([]float64, a.last(i)-a.first(b, i))
	for j := range s {
		s[j] = float64(a.Scale) * dot(q, a.k.at(b*a.KeyLen+a.first(b, i)+j, h/a.group))
		if c := float64(a.Softcap); c > 0 {
			s[j] = c * math.Tanh(s[j]/c)
		}
	}
	return s
}

func logSumExp(x []float64) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

func (d *reference) LinearCrossEntropy(p kernels.LinearCrossEntropy) {
	c := crossEntropyArgs(p)
	w, scale := widened(c.head, false), float64(p.LoRA.Scale)
	var du mat
	if c.u.buffer != nil {
		d.lowRank(p.X, p.LoRA, p.Mask)
		du = floats("LinearCrossEntropy", d.matrix(c.x.rows, c.u.cols))
	}
	logits, slope := make([]float64, c.head.rows), make([]float64, c.head.rows)
	for i, target := range c.targets {
		c.losses[i] = 0
		grad, gradU := make([]float64, c.dx.cols), make([]float64, c.db.cols)
		if target >= 0 {
			for v := range logits {
				z := dot(c.x.row(i), w[v])
				if c.u.buffer != nil {
					z += scale * dot(c.u.row(i), c.b.row(v))
				}
				if c.bias != nil {
					z += float64(c.bias[v])
				}
				slope[v] = 1
				if top := float64(p.Softcap); top > 0 {
					t := math.Tanh(z / top)
					z, slope[v] = top*t, 1-t*t
				}
				logits[v] = z
			}
			lse := logSumExp(logits)
			c.losses[i] = float32(lse - logits[target])
			for v, z := range logits {
				dz := math.Exp(z - lse)
				if v == int(target) {
					dz--
				}
				dz *= slope[v] * float64(c.gradScale)
				for j := range grad {
					grad[j] += dz * float64(w[v][j])
				}
				for j := range gradU {
					gradU[j] += dz * scale * float64(c.b.row(v)[j])
					c.db.row(v)[j] += float32(dz * scale * float64(c.u.row(i)[j]))
				}
			}
		}
		for j, g := range grad {
			c.dx.row(i)[j] = float32(g)
		}
		for j, g := range gradU {
			du.row(i)[j] = float32(g)
		}
	}
	if c.u.buffer != nil && c.dx.buffer != nil {
		d.lowRankGrad(p.X, p.DX, p.Mask, p.LoRA.A, p.DA, kernels.Mat{Buf: du.buffer, Rows: du.rows, Cols: du.cols, Stride: du.stride})
	}
}

func (d *reference) Sum(dst kernels.Scalar, src kernels.Buffer, add bool) {
	var sum float64
	if add {
		sum = *double("Sum", dst)
	}
	for _, v := range flat("Sum", src) {
		sum += float64(v)
	}
	*double("Sum", dst) = sum
}

func (d *reference) SumSquares(dst kernels.Scalar, src kernels.Buffer) {
	x := flat("SumSquares", src)
	*double("SumSquares", dst) = dot(x, x)
}

func (d *reference) AdamW(p kernels.AdamW) {
	w := flat("AdamW", p.Param)
	g, m, v := vector("AdamW", p.Grad, len(w)), vector("AdamW", p.M, len(w)), vector("AdamW", p.V, len(w))
	c, ok := adamCoefficients(p)
	if !ok {
		return
	}
	for i := range w {
		grad := float64(g[i]) * c.clip
		m1 := p.Beta1*float64(m[i]) + (1-p.Beta1)*grad
		v1 := p.Beta2*float64(v[i]) + (1-p.Beta2)*grad*grad
		m[i], v[i] = float32(m1), float32(v1)
		w[i] = float32(float64(w[i])*c.decay - c.rate*m1/(math.Sqrt(v1)*c.rootBias2+p.Eps))
	}
}
