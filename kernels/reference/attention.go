package reference

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
)

// attention is a kernels.Attention with its arguments checked.
type attention struct {
	kernels.Attention
	q, k, v, out heads
	lse          []float64
	starts       []int32 // or nil
	group        int     // query heads for each key head
}

func (d *device) attention(p kernels.Attention) *attention {
	const op = "Attention"
	queries, keys := p.Batch*p.QueryLen, p.Batch*p.KeyLen
	a := &attention{Attention: p, q: d.heads(op, p.Q, queries), k: d.heads(op, p.K, keys), v: d.heads(op, p.V, keys), out: d.heads(op, p.Out, queries),
		lse: vector(op, p.LSE, queries*p.Q.N)}
	if p.QueryLen > p.KeyLen || p.K.N < 1 || p.Q.N%p.K.N != 0 {
		panic(fmt.Sprintf("reference: Attention of %d queries over %d keys, %d heads over %d", p.QueryLen, p.KeyLen, p.Q.N, p.K.N))
	}
	if p.Starts != nil {
		a.starts = integers(op, p.Starts, keys)
		for i, start := range a.starts {
			position := i % p.KeyLen
			if start < 0 || int(start) > position || position > 0 && start < a.starts[i-1] {
				panic(fmt.Sprintf("reference: Attention: position %d of row %d belongs to a segment from %d on", position, i/p.KeyLen, start))
			}
		}
	}
	a.like(a.q, a.out, a.q.n)
	a.like(a.k, a.v, a.k.n)
	a.group = a.q.n / a.k.n
	return a
}

// like checks that two views have n heads of the queries' size.
func (a *attention) like(x, y heads, n int) {
	if x.n != n || y.n != n || x.dim != a.q.dim || y.dim != a.q.dim {
		panic(fmt.Sprintf("reference: Attention: %d heads of %d and %d of %d, want %d of %d", x.n, x.dim, y.n, y.dim, n, a.q.dim))
	}
}

// first is the first key that query i of batch row b sees; its own position is the
// last.
func (a *attention) first(b, i int) (first int) {
	position := a.KeyLen - a.QueryLen + i
	if a.starts != nil {
		first = int(a.starts[b*a.KeyLen+position])
	}
	if a.Window > 0 {
		first = max(first, position-a.Window+1)
	}
	return first
}

// each calls f for every batch row, query head and query.
func (a *attention) each(f func(b, h, i int)) {
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
	q, first := a.q.at(b*a.QueryLen+i, h), a.first(b, i)
	s := make([]float64, a.KeyLen-a.QueryLen+i+1-first)
	for j := range s {
		s[j] = float64(a.Scale) * dot(q, a.k.at(b*a.KeyLen+first+j, h/a.group))
		if c := float64(a.Softcap); c > 0 {
			s[j] = c * math.Tanh(s[j]/c)
		}
	}
	return s
}

func (d *device) Attention(p kernels.Attention) {
	a := d.attention(p)
	a.each(func(b, h, i int) {
		scores := a.scores(b, h, i)
		lse := logSumExp(scores)
		a.lse[(b*a.q.n+h)*p.QueryLen+i] = round(kernels.F32, lse)
		out := make([]float64, a.q.dim)
		for j, s := range scores {
			prob := math.Exp(s - lse)
			for l, v := range a.v.at(b*p.KeyLen+a.first(b, i)+j, h/a.group) {
				out[l] += prob * v
			}
		}
		a.out.put(b*p.QueryLen+i, h, out)
	})
}

func (d *device) AttentionGrad(p kernels.AttentionGrad) {
	const op = "AttentionGrad"
	a := d.attention(p.Attention)
	queries, keys := p.Batch*p.QueryLen, p.Batch*p.KeyLen
	dout, dq := d.heads(op, p.DOut, queries), d.heads(op, p.DQ, queries)
	dk, dv := d.heads(op, p.DK, keys), d.heads(op, p.DV, keys)
	a.like(dout, dq, a.q.n)
	a.like(dk, dv, a.k.n)
	dim := a.k.dim
	gk, gv := make([]float64, keys*a.k.n*dim), make([]float64, keys*a.k.n*dim)
	a.each(func(b, h, i int) {
		row, kh := b*p.QueryLen+i, h/a.group
		q, do := a.q.at(row, h), dout.at(row, h)
		delta := dot(do, a.out.at(row, h)) // sum over j of p_j dp_j
		lse := a.lse[(b*a.q.n+h)*p.QueryLen+i]
		gq := make([]float64, dim)
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
			k, at := a.k.at(key, kh), (key*a.k.n+kh)*dim
			for l := range gq {
				gq[l] += ds * k[l]
				gk[at+l] += ds * q[l]
				gv[at+l] += prob * do[l]
			}
		}
		dq.put(row, h, gq)
	})
	for r := range keys {
		for h := range a.k.n {
			at := (r*a.k.n + h) * dim
			dk.put(r, h, gk[at:])
			dv.put(r, h, gv[at:])
		}
	}
	p.RotateBack(d)
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
