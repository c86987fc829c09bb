package cpu

// Attention in tiles of queries: a tile's scores with all the keys that it sees
// are a small matrix in scratch memory, so nothing of size QueryLen x KeyLen
// exists, and the softmax needs no second pass as in FlashAttention
// (arXiv:2205.14135). The backward pass computes the probabilities again from
// the LSE, as there.
//
// Keys (and, for the gradient, values) are first transposed into scratch memory,
// because products read their right side row by row.

import (
	"math"

	"scu/kernels"
)

// queryTile is the number of queries in a tile: few, because keys after the
// tile's last query are never looked at.
const queryTile = 16

// attentionScratch is memory for all of a batch.
type attentionScratch struct {
	keys, values []float32 // transposed, [Batch, K.N, Dim, keyStride]
	grads        []float32 // sums for DK and DV, see AttentionGrad
}

// keyStride is KeyLen rounded up so that products may read whole registers.
func (a *attention) keyStride() int { return (a.KeyLen + 15) &^ 15 }

// transposed returns x [Batch*KeyLen, N, Dim] as [Batch, N, Dim, keyStride].
func (d *device) transposed(a *attention, x heads, to []float32) []float32 {
	stride := a.keyStride()
	to = grown(to, a.Batch*x.n*x.dim*stride)
	const rows = 64 // in a piece
	parts := ceilDiv(a.KeyLen, rows)
	d.pool.run(a.Batch*x.n*parts, 4, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			bh, j0 := p/parts, p%parts*rows
			b, h := bh/x.n, bh%x.n
			t := to[bh*x.dim*stride:][:x.dim*stride]
			j1 := min(j0+rows, a.KeyLen)
			for j := j0; j < j1; j++ {
				for l, v := range x.at(b*a.KeyLen+j, h) {
					t[l*stride+j] = v
				}
			}
			if j1 == a.KeyLen {
				for l := range x.dim {
					clear(t[l*stride+j1 : (l+1)*stride])
				}
			}
		}
	})
	return to
}

// tile is queries [i0, i1) of head h of batch row b, and the keys [j0, j1) that
// any of them sees: their number, rounded up, is the width of its scores.
type queries struct {
	b, h, i0, i1, j0, j1 int
}

func (a *attention) tile(b, h, i0 int) queries {
	i1 := min(i0+queryTile, a.QueryLen)
	return queries{b, h, i0, i1, a.first(i0) &^ 15, a.last(i1 - 1)}
}

func (q *queries) rows() int  { return q.i1 - q.i0 }
func (q *queries) width() int { return (q.j1 - q.j0 + 15) &^ 15 }

// products is sgemm with the scratch of one worker.
type products struct{ *gemmScratch }

// byKeys sets dst [rows, width] = alpha x keys^T, where x is the tile's rows of a
// view of queries, and keys one head of transposed.
func (g products) byKeys(a *attention, q *queries, dst []float32, x heads, keys []float32, alpha float32) {
	stride := a.keyStride()
	kh := q.b*a.k.n + q.h/a.group
	g.sgemm(&gemmArgs{m: q.rows(), n: q.width(), k: x.dim,
		a: x.f[(q.b*a.QueryLen+q.i0)*x.rowStride+q.h*x.hStep:], lda: x.rowStride,
		b: operand{f32: keys}, off: kh*x.dim*stride + q.j0, ldb: stride,
		c: dst, ldc: q.width(), alpha: alpha})
}

// overKeys sets dst = p [rows, width] x, where dst is the tile's rows of a view
// of queries and x a view of keys.
func (g products) overKeys(a *attention, q *queries, dst heads, p []float32, x heads) {
	g.sgemm(&gemmArgs{m: q.rows(), n: x.dim, k: q.j1 - q.j0,
		a: p, lda: q.width(),
		b: operand{f32: x.f}, off: (q.b*a.KeyLen+q.j0)*x.rowStride + q.h/a.group*x.hStep, ldb: x.rowStride,
		c: dst.f[(q.b*a.QueryLen+q.i0)*dst.rowStride+q.h*dst.hStep:], ldc: dst.rowStride, alpha: 1})
}

// overQueries adds p^T x to dst [keys, Dim], where x is the tile's rows of a view
// of queries.
func (g products) overQueries(a *attention, q *queries, dst, p []float32, x heads) {
	g.sgemm(&gemmArgs{m: q.j1 - q.j0, n: x.dim, k: q.rows(),
		a: p, lda: q.width(), transA: true,
		b: operand{f32: x.f}, off: (q.b*a.QueryLen+q.i0)*x.rowStride + q.h*x.hStep, ldb: x.rowStride,
		c: dst[q.j0*x.dim:], ldc: x.dim, alpha: 1, beta: 1})
}

// seen returns row i of a tile's matrix, cut to the keys that query i0+i sees, and
// zeroes the rest of it.
func (a *attention) seen(q *queries, m []float32, i int) []float32 {
	row := m[i*q.width() : (i+1)*q.width()]
	lo, hi := a.first(q.i0+i)-q.j0, a.last(q.i0+i)-q.j0
	clear(row[:lo])
	clear(row[hi:])
	return row[lo:hi]
}

func (d *device) Attention(p kernels.Attention) {
	a := attentionArgs(p)
	d.attention.keys = d.transposed(&a, a.k, d.attention.keys)
	tiles := ceilDiv(a.QueryLen, queryTile)
	d.pool.runWorkers(a.Batch*a.k.n*tiles, 1, func(worker, lo, hi int) {
		g := products{d.pool.gemmScratch(worker)}
		for t := lo; t < hi; t++ {
			bk, i0 := t/tiles, t%tiles*queryTile
			for h := range a.group { // heads that share the keys, one after another
				q := a.tile(bk/a.k.n, bk%a.k.n*a.group+h, i0)
				d.attendTile(g, &d.scratch[worker], &a, &q)
			}
		}
	})
}

func (d *device) attendTile(g products, s *scratch, a *attention, q *queries) {
	scores := s.floats(q.rows() * q.width())
	g.byKeys(a, q, scores, a.q, d.attention.keys, a.Scale)
	var sums [queryTile]float32
	for i := range q.rows() {
		row := a.seen(q, scores, i)
		if a.Softcap > 0 {
			d.v.softcap(row, row, a.Softcap)
		}
		top := d.v.max(row)
		sums[i] = d.v.exp(row, row, top)
		*a.lseAt(q, i) = top + float32(math.Log(float64(sums[i])))
	}
	g.overKeys(a, q, a.out, scores, a.v)
	for i := range q.rows() {
		out := a.out.at(q.b*a.QueryLen+q.i0+i, q.h)
		d.v.scale(out, out, 1/sums[i])
	}
}

func (a *attention) lseAt(q *queries, i int) *float32 {
	return &a.lse[(q.b*a.q.n+q.h)*a.QueryLen+q.i0+i]
}

// AttentionGrad cuts the queries of each key head into splits; each split sums
// its part of DK and DV, tile after tile, and the parts are added up in sequence.
// The number of splits depends on the shape alone.
func (d *device) AttentionGrad(p kernels.AttentionGrad) {
	a := attentionArgs(p.Attention)
	dout, dq, dk, dv := a.gradArgs(p)
	keys := a.Batch * a.KeyLen
	d.attention.keys = d.transposed(&a, a.k, d.attention.keys)
	d.attention.values = d.transposed(&a, a.v, d.attention.values)
	tiles := ceilDiv(a.QueryLen, queryTile)
	const wanted, least = 64, 8 // pieces of work; tiles in one
	splits := max(1, min(wanted/(a.Batch*a.k.n), tiles/least))
	size := a.KeyLen * a.k.dim
	d.attention.grads = grown(d.attention.grads, 2*a.Batch*a.k.n*splits*size)
	d.pool.runWorkers(a.Batch*a.k.n*splits, 1, func(worker, lo, hi int) {
		g := products{d.pool.gemmScratch(worker)}
		for t := lo; t < hi; t++ {
			bk, split := t/splits, t%splits
			sums := d.attention.grads[2*t*size:][:2*size]
			clear(sums)
			for tile := split * tiles / splits; tile < (split+1)*tiles/splits; tile++ {
				for h := range a.group {
					q := a.tile(bk/a.k.n, bk%a.k.n*a.group+h, tile*queryTile)
					d.attendTileGrad(g, &d.scratch[worker], &a, &q, dout, dq, sums[:size], sums[size:])
				}
			}
		}
	})
	d.eachRow(keys, a.k.n*a.k.dim*splits, func(_ *scratch, r int) {
		for h := range a.k.n {
			bk, at := r/a.KeyLen*a.k.n+h, r%a.KeyLen*a.k.dim
			for i, to := range [2][]float32{dk.at(r, h), dv.at(r, h)} {
				part := d.attention.grads[(2*bk*splits+i)*size+at:]
				copy(to, part)
				for s := 1; s < splits; s++ {
					d.v.add(to, to, part[2*s*size:])
				}
			}
		}
	})
}

// attendTileGrad sets the tile's rows of dq and adds its part to the sums dk and
// dv [KeyLen, Dim] of its key head.
func (d *device) attendTileGrad(g products, s *scratch, a *attention, q *queries, dout, dq heads, dk, dv []float32) {
	n := q.rows() * q.width()
	memory := s.floats(2*n + q.width())
	probs, grads, capped := memory[:n], memory[n:2*n], memory[2*n:]
	g.byKeys(a, q, probs, a.q, d.attention.keys, a.Scale)
	g.byKeys(a, q, grads, dout, d.attention.values, 1)
	for i := range q.rows() {
		prob, grad := a.seen(q, probs, i), a.seen(q, grads, i)
		r := q.b*a.QueryLen + q.i0 + i
		delta := d.v.dot(dout.at(r, q.h), a.out.at(r, q.h)) // sum of prob grad
		if a.Softcap > 0 {
			d.v.softcap(prob, prob, a.Softcap)
			copy(capped, prob)
		}
		d.v.exp(prob, prob, *a.lseAt(q, i))
		d.v.softmaxGrad(grad, prob, delta, a.Scale)
		if a.Softcap > 0 {
			d.v.softcapGrad(grad, capped, a.Softcap)
		}
	}
	g.overQueries(a, q, dv, probs, dout)
	g.overKeys(a, q, dq, grads, a.k)
	g.overQueries(a, q, dk, grads, a.q)
}
