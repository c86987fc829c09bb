package cpu

// Attention by groups of queries: a group's scores with all the keys that it sees
// are a small matrix in scratch memory, so nothing of size QueryLen x KeyLen
// exists, and the softmax needs no second pass as in FlashAttention
// (arXiv:2205.14135). The backward pass computes the probabilities again from
// the LSE, as there.
//
// Keys and values are first copied to scratch memory in the layout in which
// products read their right side: transposed [Batch, K.N, Dim, keyStride] for
// scores, and by rows [Batch, K.N, KeyLen, dimStride] for sums over keys.

import (
	"math"

	"github.com/shannon-control/scu/kernels"
)

const (
	// queryGroup is how many queries have their scores computed together: the
	// rows of the largest tile. More would only see more keys in vain.
	queryGroup = 8
	// queryTile is how many queries add to the gradient of the keys together.
	queryTile = 32
	// keyPanel is how many keys they add to at once: the widest tile.
	keyPanel = 48
)

// attentionScratch is memory for a whole batch.
type attentionScratch struct {
	keys, values region // transposed
	rows         region // values by rows in the forward pass, keys in the backward
	grads        region // sums for DK and DV, see AttentionGrad
}

func (s *attentionScratch) free() {
	for _, r := range []*region{&s.keys, &s.values, &s.rows, &s.grads} {
		r.free()
	}
}

// keyStride is KeyLen rounded up to whole vectors, and a cache line more: rows a
// power of two apart would share their places in the cache.
func (a *attention) keyStride() int { return (a.KeyLen+15)&^15 + 16 }

func (a *attention) dimStride() int { return (a.q.dim + 15) &^ 15 }

// attentionSizes are the elements of an attentionScratch's regions.
type attentionSizes struct{ keys, values, rows, grads int64 }

func (s *attentionSizes) total() int64 { return s.keys + s.values + s.rows + s.grads }

// include makes room for what p needs, or its gradient.
func (s *attentionSizes) include(p kernels.Attention, grad bool) {
	a := attention{Attention: p, q: heads{dim: p.Q.Dim}, k: heads{n: p.K.N, dim: p.K.Dim}}
	heads := int64(p.Batch) * int64(p.K.N)
	transposed := heads * int64(p.K.Dim) * int64(a.keyStride())
	s.keys = max(s.keys, transposed)
	s.rows = max(s.rows, heads*int64(p.KeyLen)*int64(a.dimStride()))
	if grad {
		s.values = max(s.values, transposed)
		s.grads = max(s.grads, 2*int64(a.gradSplits())*transposed)
	}
}

// packKeys copies x, a view of keys or values, to t transposed and to rows by
// rows; either may be nil.
func (d *device) packKeys(a *attention, x heads, t, rows []float32) {
	stride, wide := a.keyStride(), a.dimStride()
	const piece = 64 // keys
	pieces := ceilDiv(a.KeyLen, piece)
	d.pool.runWorkers(a.Batch*x.n*pieces, 4, func(worker, lo, hi int) {
		g := d.pool.gemmScratch(worker)
		for p := lo; p < hi; p++ {
			bh, j := p/pieces, p%pieces*piece
			n := min(piece, a.KeyLen-j)
			from := x.f[(bh/x.n*a.KeyLen+j)*x.rowStride+bh%x.n*x.hStep:]
			if t != nil {
				g.transpose(t[bh*x.dim*stride+j:], stride, from, x.rowStride, n, x.dim)
			}
			if rows != nil {
				for r := range n {
					copy(rows[(bh*a.KeyLen+j+r)*wide:], from[r*x.rowStride:][:x.dim])
				}
			}
		}
	})
}

// memory sizes the scratch; what it held is of no use.
func (a *attention) memory(s *attentionScratch, transposed ...*region) {
	for _, t := range transposed {
		t.grow(a.Batch * a.k.n * a.k.dim * a.keyStride())
	}
	s.rows.grow(a.Batch * a.k.n * a.KeyLen * a.dimStride())
}

// queries are queries [i0, i1) of head h of batch row b, and the keys [j0, j1) that
// they see.
type queries struct {
	b, h, i0, i1, j0, j1 int
}

func (a *attention) queries(b, h, i0, n int) queries {
	i1 := min(i0+n, a.QueryLen)
	return queries{b, h, i0, i1, a.first(b, i0) &^ 15, a.last(i1 - 1)}
}

func (q *queries) rows() int  { return q.i1 - q.i0 }
func (q *queries) width() int { return (q.j1 - q.j0 + 15) &^ 15 }

// keyHead is the number of the queries' key head in the batch.
func (q *queries) keyHead(a *attention) int { return q.b*a.k.n + q.h/a.group }

// of is the part of x, a view of queries, that starts with the first one.
func (q *queries) of(a *attention, x heads) []float32 {
	return x.f[(q.b*a.QueryLen+q.i0)*x.rowStride+q.h*x.hStep:]
}

// byKeys sets dst [rows, width] = alpha x keys^T, where x is a view of queries and
// keys a scratch of transposed keys.
func (q *queries) byKeys(g *gemmScratch, a *attention, dst []float32, stride int, x heads, keys []float32, alpha float32) {
	g.multiply(product{m: q.rows(), n: q.width(), k: x.dim, alpha: alpha,
		a: q.of(a, x), aRow: x.rowStride, aStep: 1,
		b: keys[q.keyHead(a)*x.dim*a.keyStride()+q.j0:], bRow: a.keyStride(),
		c: dst, cRow: stride})
}

// overKeys sets dst, a view of queries, to p [rows, width] x, where x is a scratch
// of keys by rows.
func (q *queries) overKeys(g *gemmScratch, a *attention, dst heads, p []float32, stride int, x []float32) {
	g.multiply(product{m: q.rows(), n: dst.dim, k: q.j1 - q.j0, alpha: 1,
		a: p, aRow: stride, aStep: 1,
		b: x[(q.keyHead(a)*a.KeyLen+q.j0)*a.dimStride():], bRow: a.dimStride(),
		c: q.of(a, dst), cRow: dst.rowStride})
}

// overQueries adds x^T p to dst [Dim, keyStride], where x is a view of queries and
// p [rows, width] is zero where a query does not see a key.
func (q *queries) overQueries(g *gemmScratch, a *attention, dst []float32, x heads, p []float32) {
	shift := a.KeyLen - a.QueryLen
	for j := q.j0; j < q.j1; j += keyPanel {
		n := min(keyPanel, q.j0+q.width()-j)
		i0, i1 := max(q.i0, j-shift), q.i1
		for i0 < i1 && a.first(q.b, i1-1) >= j+n {
			i1--
		}
		if i0 < i1 {
			g.multiply(product{m: x.dim, n: n, k: i1 - i0, alpha: 1, beta: 1,
				a: q.of(a, x)[(i0-q.i0)*x.rowStride:], aRow: 1, aStep: x.rowStride,
				b: p[(i0-q.i0)*q.width()+j-q.j0:], bRow: q.width(),
				c: dst[j:], cRow: a.keyStride()})
		}
	}
}

// seen cuts row, the columns of query i, to the keys that it sees, and zeroes the
// rest.
func (q *queries) seen(a *attention, row []float32, i int) []float32 {
	lo, hi := a.first(q.b, i)-q.j0, a.last(i)-q.j0
	clear(row[:lo])
	clear(row[hi:])
	return row[lo:hi]
}

func (d *device) Attention(p kernels.Attention) {
	a := attentionArgs(p)
	m := &d.attention
	a.memory(m, &m.keys)
	d.packKeys(&a, a.k, m.keys.f32, nil)
	d.packKeys(&a, a.v, nil, m.rows.f32)
	groups := ceilDiv(a.QueryLen, queryGroup)
	d.pool.runWorkers(a.Batch*a.k.n*groups, 4, func(worker, lo, hi int) {
		for t := lo; t < hi; t++ {
			bk, i0 := t/groups, t%groups*queryGroup
			for h := range a.group { // heads that share the keys, one after another
				q := a.queries(bk/a.k.n, bk%a.k.n*a.group+h, i0, queryGroup)
				d.attend(worker, &a, &q)
			}
		}
	})
}

// attend computes the output of a group of queries.
func (d *device) attend(worker int, a *attention, q *queries) {
	g, width := d.pool.gemmScratch(worker), q.width()
	scores := d.scratch[worker].floats(q.rows() * width)
	q.byKeys(g, a, scores, width, a.q, d.attention.keys.f32, a.Scale)
	// Row after row in each loop, since what a row waits for another need not.
	var rows [queryGroup][]float32
	var tops, sums [queryGroup]float32
	for i := range q.rows() {
		rows[i] = q.seen(a, scores[i*width:(i+1)*width], q.i0+i)
		if a.Softcap > 0 {
			d.v.softcap(rows[i], rows[i], a.Softcap)
		}
		tops[i] = d.v.max(rows[i])
	}
	for i := range q.rows() {
		sums[i] = d.v.exp(rows[i], rows[i], tops[i])
	}
	q.overKeys(g, a, a.out, scores, width, d.attention.rows.f32)
	for i := range q.rows() {
		*a.lseAt(q, q.i0+i) = tops[i] + float32(math.Log(float64(sums[i])))
		out := a.out.at(q.b*a.QueryLen+q.i0+i, q.h)
		d.v.scale(out, out, 1/sums[i])
	}
}

func (a *attention) lseAt(q *queries, i int) *float32 {
	return &a.lse[(q.b*a.q.n+q.h)*a.QueryLen+i]
}

// AttentionGrad cuts the queries of each key head into splits; each split sums
// its part of DK and DV transposed, tile after tile, and the parts are added up in
// sequence. The number of splits depends on the shape alone.
func (d *device) AttentionGrad(p kernels.AttentionGrad) {
	a := attentionArgs(p.Attention)
	dout, dq, dk, dv := a.gradArgs(p)
	m := &d.attention
	a.memory(m, &m.keys, &m.values)
	d.packKeys(&a, a.k, m.keys.f32, m.rows.f32)
	d.packKeys(&a, a.v, m.values.f32, nil)

	tiles := ceilDiv(a.QueryLen, queryTile)
	splits := a.gradSplits()
	size := a.k.dim * a.keyStride()
	m.grads.grow(2 * a.Batch * a.k.n * splits * size)
	d.pool.runWorkers(a.Batch*a.k.n*splits, 1, func(worker, lo, hi int) {
		for t := lo; t < hi; t++ {
			bk, split := t/splits, t%splits
			sums := m.grads.f32[2*t*size:][:2*size]
			clear(sums)
			for tile := split * tiles / splits; tile < (split+1)*tiles/splits; tile++ {
				for h := range a.group {
					q := a.queries(bk/a.k.n, bk%a.k.n*a.group+h, tile*queryTile, queryTile)
					d.attendGrad(worker, &a, &q, dout, dq, sums[:size], sums[size:])
				}
			}
		}
	})
	d.pool.runWorkers(a.Batch*a.k.n, 1, func(worker, lo, hi int) {
		g := d.pool.gemmScratch(worker)
		for bk := lo; bk < hi; bk++ {
			parts := m.grads.f32[2*bk*splits*size:][:2*splits*size]
			for s := 1; s < splits; s++ {
				d.v.add(parts[:2*size], parts, parts[2*s*size:])
			}
			for i, to := range [2]heads{dk, dv} {
				g.transpose(to.f[bk/to.n*a.KeyLen*to.rowStride+bk%to.n*to.hStep:], to.rowStride,
					parts[i*size:], a.keyStride(), a.k.dim, a.KeyLen)
			}
		}
	})
	p.RotateBack(d)
}

// gradSplits is how many sums for DK and DV each key head of the batch has.
func (a *attention) gradSplits() int {
	const wanted, least = 32, 4 // pieces of work; tiles in one
	return max(1, min(wanted/(a.Batch*a.k.n), ceilDiv(a.QueryLen, queryTile)/least))
}

// attendGrad sets the tile's rows of dq and adds its part to the sums dk and dv
// [Dim, keyStride] of its key head.
func (d *device) attendGrad(worker int, a *attention, q *queries, dout, dq heads, dk, dv []float32) {
	g, width := d.pool.gemmScratch(worker), q.width()
	n := q.rows() * width
	memory := d.scratch[worker].floats(2*n + width)
	probs, grads, capped := memory[:n], memory[n:2*n], memory[2*n:]
	for i0 := q.i0; i0 < q.i1; i0 += queryGroup {
		group := a.queries(q.b, q.h, i0, min(queryGroup, q.i1-i0))
		at := (i0-q.i0)*width + group.j0 - q.j0
		group.byKeys(g, a, probs[at:], width, a.q, d.attention.keys.f32, a.Scale)
		group.byKeys(g, a, grads[at:], width, dout, d.attention.values.f32, 1)
		for i := i0; i < group.i1; i++ {
			row := (i - q.i0) * width
			prob, grad := q.seen(a, probs[row:row+width], i), q.seen(a, grads[row:row+width], i)
			r := q.b*a.QueryLen + i
			delta := d.v.dot(dout.at(r, q.h), a.out.at(r, q.h)) // sum of prob grad
			if a.Softcap > 0 {
				d.v.softcap(prob, prob, a.Softcap)
				copy(capped, prob)
			}
			d.v.exp(prob, prob, *a.lseAt(q, i))
			d.v.softmaxGrad(grad, prob, delta, a.Scale)
			if len(grad) == 1 { // all of one key, whatever its score: not even a rounding error
				grad[0] = 0
			}
			if a.Softcap > 0 {
				d.v.softcapGrad(grad, capped, a.Softcap)
			}
		}
		group.overKeys(g, a, dq, grads[at:], width, d.attention.rows.f32)
	}
	q.overQueries(g, a, dv, dout, probs)
	q.overQueries(g, a, dk, a.q, grads)
}
