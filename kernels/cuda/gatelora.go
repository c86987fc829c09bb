//go:build cuda && cgo && linux

package cuda

import "github.com/shannon-control/scu/kernels"

// A feed-forward layer is read once for its activation and the thin products of the adapters beside it
// (gatelora_fast.cu), if each layer has an adapter of up to 16 ranks and they are products at once (linear_once.go).

func (d *device) ActivatedLinear(p kernels.ActivatedLinear) {
	if !d.activatedLinearAtOnce(p) {
		p.Compose(d)
	}
}

func (d *device) ActivatedLinearGrad(p kernels.ActivatedLinearGrad) {
	if !d.activatedGradAtOnce(p) {
		p.Compose(d)
	}
}

// gateLoRA is the kernels' call on gate and up, if there is an up; ok if they take them.
func (d *device) gateLoRA(op string, act kernels.Activation, gate, up kernels.Mat) (l gateLoRA, ok bool) {
	g := d.active(op, gate, gate.Rows, gate.Cols)
	l = gateLoRA{T: d.activations, Activation: act}
	l.Gate, l.M, l.N, l.GateRow = uint64(g.at(0, 0)), g.rows, g.cols, int32(g.stride)
	ok = !d.card().little && g.rows > 0 && vectors(g)
	if up.Buf != nil {
		u := d.active(op, up, gate.Rows, gate.Cols)
		l.Up, l.UpRow = uint64(u.at(0, 0)), int32(u.stride)
		ok = ok && vectors(u)
	}
	l.DGate, l.DUp, l.DGateRow, l.DUpRow = l.Gate, l.Up, l.GateRow, l.UpRow
	return l, ok && l.named() != ""
}

// oneGroup reports whether each of n layers has an adapter that is one group.
func (t thin) oneGroup(n int) bool {
	for _, l := range t.layers {
		if l.rank > 16 {
			return false
		}
	}
	return len(t.layers) == n
}

func (d *device) activatedLinearAtOnce(p kernels.ActivatedLinear) bool {
	const op = "ActivatedLinear"
	if d.activations == kernels.F32 || len(p.Parts) != 1 {
		return false
	}
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)
	x := d.active(op, p.X, p.Gate.Rows, p.Gate.Cols)
	l, ok := d.gateLoRA(op, p.Act, p.Gate, p.Up)
	if !ok {
		return false
	}
	t, ok := d.thin(op, x, p.Mask, p.Parts)
	return ok && t.oneGroup(1) && d.linearAtOnce(p.Linear, x, t, func(t thin, also []view, puts []loraPut) {
		inner, a := d.scratch.mark(), t.layers[0]
		l.X, l.XRow, l.Mask = uint64(x.at(0, 0)), int32(x.stride), t.mask
		l.W[ofDown], l.WRow[ofDown], l.Rank[ofDown] = uint64(a.a.at(0, 0)), int32(a.a.stride), int32(a.rank)
		part, _, _ := l.parts(d.card())
		l.Part = uint64(d.scratch.take(d, 4*part))
		u := a.group(view{}, true, a.u, 0, t.scale)
		u.Also, u.AlsoRow = uint64(also[0].at(0, 0)), int32(also[0].stride)
		down, sums := l.down(d.card(), u)
		d.run(down)
		d.run(sumsAndPuts(d.activations, sums, puts)...)
		d.scratch.release(d, inner)
	})
}

func (d *device) activatedGradAtOnce(p kernels.ActivatedLinearGrad) bool {
	const op = "ActivatedLinearGrad"
	made := []kernels.Mat{p.Gate, p.Up}
	if p.Up.Buf == nil {
		made = made[:1]
	}
	if d.activations == kernels.F32 || len(p.Down.Parts) != 1 || len(p.In.Parts) != len(made) {
		return false
	}
	for i, m := range made {
		if p.In.Parts[i].DY != m {
			return false
		}
	}
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)
	l, ok := d.gateLoRA(op, p.Act, p.Gate, p.Up)
	if !ok {
		return false
	}
	plan := func(p kernels.LinearGrad) (g gradAtOnce, ok bool) {
		x := d.active(op, p.X, int(l.M), p.X.Cols)
		var dx view
		if p.DX.Buf != nil {
			dx = d.active(op, p.DX, int(l.M), p.X.Cols)
		}
		var layers []kernels.LinearPart
		for _, l := range p.Parts {
			layers = append(layers, l.LinearPart)
		}
		t, ok := d.thin(op, x, p.Mask, layers)
		if !ok || !t.oneGroup(len(layers)) {
			return g, false
		}
		return d.gradAtOnce(p, dx, t)
	}
	down, ok := plan(p.Down)
	if !ok || down.dx.cols != int32(l.N) || !vectors(down.dx) {
		return false
	}
	in, ok := plan(p.In)
	if !ok {
		return false
	}
	in.normed(d)
	inner := d.scratch.mark()
	d.both(down.thin, down.begin(d))
	down.product(d)
	down.addBack(d)
	d.scratch.release(d, inner)

	puts := in.begin(d)
	c, inner, a := d.card(), d.scratch.mark(), down.thin.layers[0]
	l.DX, l.DXRow, l.Mask = uint64(down.dx.at(0, 0)), int32(down.dx.stride), down.thin.mask
	l.U[ofDown], l.URow[ofDown], l.Rank[ofDown] = uint64(a.du.at(0, 0)), int32(a.du.stride), int32(a.rank)
	du, db := make([]loraGroup, len(made)), make([]loraGroup, len(made))
	for of, a := range in.thin.layers {
		l.W[of], l.WRow[of] = uint64(a.b.at(0, 0)), int32(a.b.stride)
		l.U[of], l.URow[of], l.Rank[of] = uint64(a.u.at(0, 0)), int32(a.u.stride), int32(a.rank)
		du[of], db[of] = a.toDU(0), a.group(view{}, true, a.db, 0, a.scale)
	}
	_, part, partB := l.parts(c)
	l.Part, l.PartB = uint64(d.scratch.take(d, 4*part)), uint64(d.scratch.take(d, 4*partB))
	both, sums := l.both(c, du, db, a.group(view{}, true, a.da, 0, down.thin.scale))
	d.run(both)
	d.run(sumsAndPuts(d.activations, in.thin.scaleDU(sums), puts)...)
	d.scratch.release(d, inner)

	in.product(d)
	d.tall(in.thin)
	in.addBack(d)
	return true
}
