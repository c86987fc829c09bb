//go:build cuda && cgo && linux

package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// thin is the adapters of layers that read one input X [rows,in], for the kernels of lora_fast.cu. Those
// read X and each DY once for all their products, and A and B without converting them from F32.
type thin struct {
	x      view
	mask   uint64  // X's bits, or 0
	scale  float32 // of what the mask keeps
	layers []thinLayer

	// Backward, if x is what a norm read and the layers read x rstd (weight + offset), with addresses of F32; else 0.
	rstd, weight uint64
	offset       float32
}

// scaleDU and scaleDA have sums multiply by rstd what tall takes for du, and by the norm's weight what it makes.
func (t thin) scaleDU(sums []loraSum) []loraSum {
	for i, s := range sums {
		if t.rstd != 0 && s.Kind == sumStore {
			sums[i] = s.multiplied(t.rstd, 0)
		}
	}
	return sums
}

func (t thin) scaleDA(sums []loraSum) []loraSum {
	for i, s := range sums {
		if t.rstd != 0 {
			sums[i] = s.multiplied(t.weight, t.offset)
		}
	}
	return sums
}

type thinLayer struct {
	a, b, u        view // A [r,in], B [out,r], U [rows,r]
	dy, da, db, du view // backward
	scaled         view // du rstd, see thin
	rank           int
	scale          float32
}

// thin reports whether those kernels take the adapters, and makes the mask's bits if there is a mask. The
// caller releases the scratch memory that it takes.
func (d *device) thin(op string, x view, m kernels.Mask, parts []kernels.LinearPart) (thin, bool) {
	t := thin{x: x, scale: 1}
	rows, in := int(x.rows), int(x.cols)
	ok := d.activations != kernels.F32 && vectors(x) && in%8 == 0
	for _, p := range parts {
		if p.LoRA.A.Buf == nil {
			continue
		}
		r, out := p.LoRA.A.Rows, p.LoRA.B.Rows
		l := thinLayer{a: single(op, p.LoRA.A, r, in), b: single(op, p.LoRA.B, out, r), u: d.active(op, p.LoRA.U, rows, r), rank: r, scale: p.LoRA.Scale}
		ok = ok && r%8 == 0 && out%8 == 0 && vectors(l.a) && vectors(l.b) && vectors(l.u)
		t.layers = append(t.layers, l)
	}
	if !ok || len(t.layers) == 0 || m.P > 0 && in%64 != 0 {
		return thin{}, false
	}
	if m.P > 0 {
		mask := random.NewMask(m.P, 0)
		t.scale, t.mask = mask.Scale, uint64(d.scratch.take(d, rows*in/8))
		d.run(loraMask(t.mask, uint64(scalar(op, m.Key, kernels.U64)), m.Module, rows*in, int(mask.Keep)))
	}
	return t, true
}

// vectors reports whether a matrix's rows are aligned to 16 bytes, with strides of whole vectors of 8.
func vectors(v view) bool { return v.at(0, 0)%16 == 0 && v.stride%8 == 0 && v.stride <= widest }

// lora returns what all calls on x have in common.
func (d *device) lora(x view, mask uint64, groups []loraGroup) lora {
	return lora{T: d.activations, X: uint64(x.at(0, 0)), M: int(x.rows), N: int(x.cols), XRow: int(x.stride), Mask: mask, Groups: groups}
}

// group is ranks j to j+15 of a layer: w is rows of A or columns of B, u the layer's U or what takes its place.
func (l thinLayer) group(w view, rows bool, u view, j int, scale float32) loraGroup {
	g := loraGroup{URow: int32(u.stride), Rank: int32(min(16, l.rank-j)), Scale: scale}
	if u.data != 0 {
		g.U = uint64(u.at(0, j))
	}
	switch {
	case w.data == 0:
	case rows:
		g.W, g.WRow = uint64(w.at(j, 0)), int32(w.stride)
	default:
		g.W, g.WRow = uint64(w.at(0, j)), int32(w.stride)
	}
	return g
}

// toDU is where du goes of ranks j to j+15.
func (l thinLayer) toDU(j int) loraGroup {
	g := l.group(view{}, false, l.du, j, l.scale)
	if l.scaled.data != 0 {
		g.Also, g.AlsoRow = uint64(l.scaled.at(0, j)), int32(l.scaled.stride)
	}
	return g
}

// together calls f for the groups of layers, a limited number at a time: with what they read, and with what is
// made of each group, if that is another matrix.
func together(layers []thinLayer, most int, of func(l thinLayer, j int) (group, result loraGroup), f func(groups, results []loraGroup)) {
	var groups, results []loraGroup
	for _, l := range layers {
		for j := 0; j < l.rank; j += 16 {
			group, result := of(l, j)
			groups, results = append(groups, group), append(results, result)
			if len(groups) == most {
				f(groups, results)
				groups, results = nil, nil
			}
		}
	}
	if len(groups) > 0 {
		f(groups, results)
	}
}

// down makes every U, beside layer i's also in also[i] if there are any, and puts.
func (d *device) down(t thin, also []view, puts []loraPut) {
	c := d.card()
	mark := d.scratch.mark()
	var all []loraSum
	at := 0 // of the layers
	together(t.layers, c.groups(), func(l thinLayer, j int) (loraGroup, loraGroup) {
		g := l.group(l.a, true, l.u, j, t.scale)
		if also != nil {
			g.Also, g.AlsoRow = uint64(also[at].at(0, j)), int32(also[at].stride)
		}
		if j+16 >= l.rank {
			at++
		}
		return g, loraGroup{}
	},
		func(groups, _ []loraGroup) {
			l := d.lora(t.x, t.mask, groups)
			part, _ := l.parts(c)
			l.Part = uint64(d.scratch.take(d, 4*part))
			down, sums := l.down(c)
			d.run(down)
			all = append(all, sums...)
		})
	d.run(sumsAndPuts(d.activations, all, puts)...)
	d.scratch.release(d, mark)
}

// thinForward makes every U, and adds Scale U B^T to dst, one for each layer.
func (d *device) thinForward(t thin, dst []view) {
	d.down(t, nil, nil)
	for i, l := range t.layers {
		if dst[i].typ != typeOf(d.activations) { // logits
			d.product(product{dst: dst[i], a: l.u, b: l.b, transB: true, alpha: l.scale, beta: 1})
			continue
		}
		together(t.layers[i:i+1], maxGroups, func(l thinLayer, j int) (loraGroup, loraGroup) {
			return l.group(l.b, false, l.u, j, l.scale), loraGroup{}
		},
			func(groups, _ []loraGroup) { d.run(d.lora(dst[i], 0, groups).up()) })
	}
}

// both makes each layer's du, adds to its DB, and puts.
func (d *device) both(t thin, puts []loraPut) {
	c := d.card()
	mark := d.scratch.mark()
	var all []loraSum
	if n := len(t.layers); n > 1 && n <= mostLayers && t.oneGroup(n) {
		var layers []lora
		var du, db []loraGroup
		for _, one := range t.layers {
			l := d.lora(one.dy, 0, []loraGroup{one.group(one.b, false, one.u, 0, 0)})
			part, partB := l.parts(c) // as many rows a block or more, so as many parts or fewer
			l.Part, l.PartB = uint64(d.scratch.take(d, 4*part)), uint64(d.scratch.take(d, 4*partB))
			layers = append(layers, l)
			du = append(du, one.toDU(0))
			db = append(db, one.group(view{}, false, one.db, 0, one.scale))
		}
		thin, sums := bothOfLayers(c, layers, du, db)
		d.run(thin)
		d.run(sumsAndPuts(d.activations, t.scaleDU(sums), puts)...)
		d.scratch.release(d, mark)
		return
	}
	for _, one := range t.layers {
		if one.rank > 16*min(2, c.groups()) { // these are faster as two products
			d.product(product{dst: one.du, a: one.dy, b: one.b, alpha: one.scale})
			d.product(product{dst: one.db, a: one.dy, b: one.u, transA: true, alpha: one.scale, beta: 1})
			continue
		}
		var groups, du, db []loraGroup
		for j := 0; j < one.rank; j += 16 {
			groups = append(groups, one.group(one.b, false, one.u, j, 0))
			du = append(du, one.toDU(j))
			db = append(db, one.group(view{}, false, one.db, j, one.scale))
		}
		l := d.lora(one.dy, 0, groups)
		part, partB := l.parts(c)
		l.Part, l.PartB = uint64(d.scratch.take(d, 4*part)), uint64(d.scratch.take(d, 4*partB))
		thin, sums := l.both(c, du, db)
		d.run(thin)
		all = append(all, sums...)
	}
	d.run(sumsAndPuts(d.activations, t.scaleDU(all), puts)...)
	d.scratch.release(d, mark)
}

// tall adds to every DA.
func (d *device) tall(t thin) {
	c := d.card()
	mark := d.scratch.mark()
	var all []loraSum
	together(t.layers, c.groups(), func(l thinLayer, j int) (loraGroup, loraGroup) {
		da := l.group(view{}, true, l.du, j, t.scale)
		da.U, da.URow = uint64(l.da.at(j, 0)), int32(l.da.stride)
		du := l.du
		if l.scaled.data != 0 {
			du = l.scaled
		}
		return l.group(view{}, true, du, j, 0), da
	}, func(groups, da []loraGroup) {
		l := d.lora(t.x, t.mask, groups)
		l.Part = uint64(d.scratch.take(d, 4*l.tallParts(c)))
		tall, sums := l.tall(c, da)
		d.run(tall)
		all = append(all, sums...)
	})
	d.run(sumsAndPuts(d.activations, t.scaleDA(all), nil)...)
	d.scratch.release(d, mark)
}

// addBack is dx += mask(du A) of all layers.
func (d *device) addBack(t thin, dx view) {
	together(t.layers, maxGroups, func(l thinLayer, j int) (loraGroup, loraGroup) {
		return l.group(l.a, true, l.du, j, t.scale), loraGroup{}
	},
		func(groups, _ []loraGroup) { d.run(d.lora(dx, t.mask, groups).add()) })
}

// thinBackward adds to every DA and DB, and to dx if there is one. Each layer's du is memory for it.
func (d *device) thinBackward(t thin, dx view) {
	d.both(t, nil)
	d.tall(t)
	if dx.data != 0 {
		d.addBack(t, dx)
	}
}
