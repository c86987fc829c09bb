//go:build cuda && cgo && linux

package cuda

import "github.com/shannon-control/scu/kernels"

// Layers on one input are one product where there is spare room (kernels.Linear): their weights W [N,in] are one
// matrix, and the adapters' share is made by longer rows of it, [x|u] [W|sB]^T forward and [dy|du] [W;A] backward,
// so that no output is read again to add to it. B's columns have zeros in the rows of other layers. Biases go the same
// way, [x|u|1] [W|sB|bias]^T. W's spare columns and rows are written each time: the weights belong to no adapter.

// beside is the view of layers' matrices, from one column of a common one to the next, as that one; ok if they are.
func beside(parts []view) (all view, ok bool) {
	all = parts[0]
	for _, v := range parts[1:] {
		if v.data != all.data || v.stride != all.stride || v.rows != all.rows || v.off != all.off+int64(all.cols) {
			return all, false
		}
		all.cols += v.cols
	}
	return all, true
}

// below is beside of matrices one below the other.
func below(parts []view) (all view, ok bool) {
	all = parts[0]
	for _, v := range parts[1:] {
		if v.data != all.data || v.stride != all.stride || v.cols != all.cols || v.off != all.off+int64(all.rows)*all.stride {
			return all, false
		}
		all.rows += v.rows
	}
	return all, true
}

// wider and taller are views with n columns or rows more.
func (v view) wider(n int) view  { v.cols += int32(n); return v }
func (v view) taller(n int) view { v.rows += int32(n); return v }

// columns is n columns from column j on.
func (v view) columns(j, n int) view { v.off, v.cols = v.off+int64(j), int32(n); return v }

// joint is layers' weights that are one matrix, or will be.
type joint struct {
	w     view
	nf4   []view // if there are any, w is made of them
	ranks int    // of the layers' adapters
	bias  int    // columns behind those for the layers' biases, forward
}

// joined reports whether the parts' weights are one matrix with room for the adapters; outs are the parts' widths.
func (d *device) joined(op string, parts []kernels.LinearPart, outs []view, in, spare int, t thin) (j joint, ok bool) {
	for _, l := range t.layers {
		j.ranks += l.rank
	}
	if j.ranks > spare || len(parts) > 1 && parts[0].Conv1D {
		return j, false
	}
	var all []view
	for i, p := range parts {
		all = append(all, weight(op, p, in, int(outs[i].cols)))
	}
	if all[0].typ == typeOf(kernels.NF4) && !parts[0].Conv1D {
		j.nf4 = all
		return j, true
	}
	j.w, ok = below(all)
	return j, ok && j.w.typ == typeOf(d.activations) && vectors(j.w)
}

// weights is the joint's matrix, in scratch memory if it has to be made.
func (d *device) weights(j joint) view {
	if j.nf4 != nil {
		return d.dequantized(j.nf4, j.ranks+j.bias)
	}
	return j.w
}

// dequantized takes scratch memory for NF4 matrices, one below the other, with room beside and below.
func (d *device) dequantized(all []view, room int) view {
	rows, cols := 0, int(all[0].cols)
	for _, v := range all {
		rows += int(v.rows)
	}
	stride := roomy(cols + room)
	w := d.matrix(d.activations, rows+room, stride)
	w.rows, w.cols = int32(rows), int32(cols)
	at := 0
	for _, v := range all {
		d.copyView(part(w, at, int(v.rows)), v)
		at += int(v.rows)
	}
	return w
}

// linearAtOnce is Linear as one product, and reports whether it could be. first makes U, beside X too, and puts.
func (d *device) linearAtOnce(p kernels.Linear, x view, t thin, first func(t thin, also []view, puts []loraPut)) bool {
	const op = "Linear"
	in := int(x.cols)
	var outs []view
	for _, l := range p.Parts {
		if l.Dst.Buf.DType() != d.activations {
			return false
		}
		outs = append(outs, d.active(op, l.Dst, int(x.rows), l.Dst.Cols))
	}
	dst, ok := beside(outs)
	if !ok {
		return false
	}
	residual := d.residual(op, p.Parts[0], int(x.rows))
	for _, l := range p.Parts[1:] {
		if l.Residual.Buf != nil || residual.data != 0 {
			return false
		}
	}
	joint, ok := d.joined(op, p.Parts, outs, in, p.Spare, t)
	if !ok {
		return false
	}
	if joint.bias = biased(p.Parts); joint.ranks+joint.bias > p.Spare {
		joint.bias = 0
	}
	w, ranks := d.weights(joint), joint.ranks
	var also []view
	var puts []loraPut
	at, begin, next := 0, 0, 0 // of the ranks, the outputs, the adapters
	for _, l := range p.Parts {
		if l.LoRA.A.Buf != nil {
			a := t.layers[next]
			next++
			also = append(also, x.columns(in+at, a.rank))
			put := loraPut{From: uint64(a.b.at(0, 0)), Rows: int32(dst.cols), Cols: int32(a.rank), Begin: int32(begin), End: int32(begin + l.Dst.Cols),
				FromRow: int32(a.b.stride), FromColumn: 1, To: uint64(w.at(0, in+at)), ToRow: int32(w.stride), Scale: a.scale}
			if l.Conv1D {
				put.Rows, put.Cols, put.Begin, put.End, put.FromRow, put.FromColumn = int32(a.rank), int32(l.Dst.Cols), 0, int32(a.rank), 1, int32(a.b.stride)
				put.To = uint64(w.at(in+at, 0))
			}
			puts = append(puts, put)
			at += a.rank
		}
		begin += l.Dst.Cols
	}
	conv := p.Parts[0].Conv1D
	if joint.bias > 0 {
		puts = append(puts, loraPut{To: uint64(x.at(0, in+ranks)), Rows: x.rows, Cols: biasColumns, End: x.rows, ToRow: int32(x.stride), Kind: putOnes})
		puts = append(puts, biasPuts(op, p.Parts, w, in+ranks)...)
	}
	first(t, also, puts)
	if conv {
		w = w.taller(ranks + joint.bias)
	} else {
		w = w.wider(ranks + joint.bias)
	}
	d.product(product{dst: dst, a: x.wider(ranks + joint.bias), b: w, residual: residual, transB: !conv, alpha: 1})
	if joint.bias == 0 {
		for i, l := range p.Parts {
			d.addBias(outs[i], flat(op, l.Bias, kernels.F32, l.Dst.Cols))
		}
	}
	return true
}

// biasPuts put layers' biases, or zeros, beside w from column at on, or below it from that row on if they are Conv1D.
func biasPuts(op string, parts []kernels.LinearPart, w view, at int) (puts []loraPut) {
	begin := 0
	for _, l := range parts {
		n := int32(l.Dst.Cols)
		put := loraPut{From: uint64(flat(op, l.Bias, kernels.F32, int(n))), To: uint64(w.at(begin, at)), Rows: n, Cols: biasColumns, FromRow: 1, ToRow: int32(w.stride), Kind: putBias}
		if l.Conv1D {
			put.To, put.Rows, put.Cols, put.FromRow, put.FromColumn = uint64(w.at(at, begin)), biasColumns, n, 0, 1
		}
		if l.Bias != nil {
			put.End = put.Rows
		}
		puts = append(puts, put)
		begin += int(n)
	}
	return puts
}

// gradAtOnce is a LinearGrad that is one product.
type gradAtOnce struct {
	op     kernels.LinearGrad
	dx, dy view // of all layers
	thin   thin
	joint  joint
	w      view
	ranks  int // whose share of dx is in the product; 0: it is added by itself, behind a mask, or there is no dx
}

// gradAtOnce reports whether a LinearGrad can be one product, and fills in the layers of its adapters.
func (d *device) gradAtOnce(p kernels.LinearGrad, dx view, t thin) (g gradAtOnce, ok bool) {
	const op = "LinearGrad"
	rows, in := int(t.x.rows), int(t.x.cols)
	var layers []kernels.LinearPart
	var dys []view
	for _, l := range p.Parts {
		layers = append(layers, l.LinearPart)
		dys = append(dys, d.active(op, l.DY, rows, l.DY.Cols))
	}
	g = gradAtOnce{op: p, dx: dx, thin: t}
	if g.dy, ok = beside(dys); !ok || !vectors(g.dy) || g.dy.cols%8 != 0 {
		return g, false
	}
	if g.joint, ok = d.joined(op, layers, dys, in, p.Spare, t); !ok {
		return g, false
	}
	n, at, next := int(g.dy.cols), 0, 0
	for i, l := range p.Parts {
		if l.LoRA.A.Buf == nil {
			continue
		}
		a := &g.thin.layers[next]
		next++
		if !vectors(dys[i]) {
			return g, false
		}
		a.dy, a.da, a.db, a.du = dys[i], single(op, l.DA, a.rank, in), single(op, l.DB, int(dys[i].cols), a.rank), g.dy.columns(n+at, a.rank)
		at += a.rank
	}
	if t.mask == 0 && dx.data != 0 {
		g.ranks = g.joint.ranks
	}
	return g, true
}

// normed makes X again, if it is a norm's and wasn't kept; or, if that is x rstd w, leaves rstd to du and w to DA.
func (g *gradAtOnce) normed(d *device) {
	n := g.op.Norm
	if n.X.Buf == nil {
		return
	}
	a := d.normArgs("LinearGrad", n)
	narrow := d.activations == kernels.BF16 // du rstd may be out of F16's range
	for _, l := range g.thin.layers {
		narrow = narrow && l.rank <= 16*min(2, d.card().groups())
	}
	if !narrow || n.LayerNorm || !vectors(a.x) || a.x.rows != g.thin.x.rows || a.x.cols != g.thin.x.cols {
		g.op.Again(d)
		return
	}
	g.thin.x, g.thin.rstd, g.thin.weight = a.x, uint64(a.rstd), uint64(a.weight)
	if a.weight == 0 || n.UnitOffset {
		g.thin.offset = 1
	}
	for i := range g.thin.layers {
		l := &g.thin.layers[i]
		l.scaled = d.matrix(d.activations, int(a.x.rows), l.rank)
	}
}

// begin makes the weights ready and returns what is put beside them.
func (g *gradAtOnce) begin(d *device) (puts []loraPut) {
	g.w = d.weights(g.joint)
	if g.ranks == 0 {
		return nil
	}
	n, in, at := int(g.dy.cols), int32(g.thin.x.cols), 0
	for _, a := range g.thin.layers {
		put := loraPut{From: uint64(a.a.at(0, 0)), Rows: int32(a.rank), Cols: in, End: int32(a.rank), FromRow: int32(a.a.stride), FromColumn: 1,
			To: uint64(g.w.at(n+at, 0)), ToRow: int32(g.w.stride), Scale: 1}
		if g.op.Parts[0].Conv1D {
			put.Rows, put.Cols, put.End, put.FromRow, put.FromColumn = in, int32(a.rank), in, 1, int32(a.a.stride)
			put.To = uint64(g.w.at(0, n+at))
		}
		puts = append(puts, put)
		at += a.rank
	}
	return puts
}

// product makes dx.
func (g *gradAtOnce) product(d *device) {
	if g.dx.data == 0 {
		return
	}
	w, conv := g.w, g.op.Parts[0].Conv1D
	if conv {
		w = w.wider(g.ranks)
	} else {
		w = w.taller(g.ranks)
	}
	d.product(product{dst: g.dx, a: g.dy.wider(g.ranks), b: w, transB: conv, alpha: 1, beta: unless(!g.op.Accumulate)})
}

// addBack adds the adapters' share of dx where the product couldn't.
func (g *gradAtOnce) addBack(d *device) {
	if g.ranks == 0 && g.dx.data != 0 {
		d.addBack(g.thin, g.dx)
	}
}

// linearGradAtOnce is LinearGrad as one product, and reports whether it could be.
func (d *device) linearGradAtOnce(p kernels.LinearGrad, dx view, t thin) bool {
	g, ok := d.gradAtOnce(p, dx, t)
	if !ok {
		return false
	}
	g.normed(d)
	d.both(g.thin, g.begin(d))
	g.product(d)
	d.tall(g.thin)
	g.addBack(d)
	return true
}
