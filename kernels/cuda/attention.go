//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// plainAttentionArgs is PlainAttentionArgs of attention_plain.cu.
type plainAttentionArgs struct {
	q, k, v, out, dout, dq, dk, dv headsView
	starts, lse, delta             driver.Pointer
	batch, queries, keys, window   int32
	scale, softcap                 float32
}

func (d *device) plainAttention(p kernels.Attention) plainAttentionArgs {
	const op = "Attention"
	queries, keys := p.Batch*p.QueryLen, p.Batch*p.KeyLen
	if p.QueryLen > p.KeyLen || p.K.N < 1 || p.Q.N%p.K.N != 0 || p.K.N != p.V.N || p.Q.Dim > 256 || p.Q.Dim != p.K.Dim || p.Q.Dim != p.V.Dim {
		panic(fmt.Sprintf("cuda: Attention of %d queries over %d keys, %d heads of %d over %d of %d and %d of %d",
			p.QueryLen, p.KeyLen, p.Q.N, p.Q.Dim, p.K.N, p.K.Dim, p.V.N, p.V.Dim))
	}
	return plainAttentionArgs{q: d.heads(op, p.Q, queries), k: d.heads(op, p.K, keys), v: d.heads(op, p.V, keys), out: d.heads(op, p.Out, queries),
		starts: flat(op, p.Starts, kernels.I32, keys), lse: flat(op, p.LSE, kernels.F32, queries*p.Q.N),
		batch: int32(p.Batch), queries: int32(p.QueryLen), keys: int32(p.KeyLen), window: int32(p.Window),
		scale: p.Scale, softcap: p.Softcap}
}

// tiles returns the arguments in the form of the tensor-core kernels, and reports whether
// those take them.
func (d *device) tiles(p plainAttentionArgs) (attentionArgs, bool) {
	if d.activations == kernels.F32 {
		return attentionArgs{}, false
	}
	fits := true
	at := func(h headsView) (start uint64, row, head int32) {
		if h.data == 0 {
			return 0, 0, 0
		}
		fits = fits && h.rowStride <= math.MaxInt32 && h.headStride <= math.MaxInt32
		return uint64(h.start()), int32(h.rowStride), int32(h.headStride)
	}
	a := attentionArgs{LSE: uint64(p.lse), Delta: uint64(p.delta), Starts: uint64(p.starts), Batch: p.batch, Queries: p.queries, Keys: p.keys,
		Heads: p.q.n, KVHeads: p.k.n, Dim: p.q.dim, Window: p.window, Splits: 1, Scale: p.scale, Softcap: p.softcap}
	a.Q, a.QRow, a.QHead = at(p.q)
	a.K, a.KRow, a.KHead = at(p.k)
	a.V, a.VRow, a.VHead = at(p.v)
	a.Out, a.OutRow, a.OutHead = at(p.out)
	a.DOut, a.DOutRow, a.DOutHead = at(p.dout)
	a.DQ, a.DQRow, a.DQHead = at(p.dq)
	a.DK, a.DKRow, a.DKHead = at(p.dk)
	a.DV, a.DVRow, a.DVHead = at(p.dv)
	a.OutIn = a.Out
	return a, fits && a.tiled()
}

// heads is headsOf for activations.
func (d *device) heads(op string, h kernels.Heads, rows int) headsView {
	if t := h.Buf.DType(); t != d.activations {
		panic(fmt.Sprintf("cuda: %s: heads of %v, want activations, %v", op, t, d.activations))
	}
	return headsOf(op, h, rows)
}

// warpGrid covers n warps, four a block.
func warpGrid(n int) [3]int { return [3]int{min(ceilDiv(n, 4), 1<<20), 1, 1} }

func (d *device) Attention(p kernels.Attention) {
	plain := d.plainAttention(p)
	if a, ok := d.tiles(plain); ok {
		d.run(attentionForward(d.activations, a, d.card())...)
		return
	}
	launch(d, "attention_plain.plain_attention", warpGrid(p.Batch*p.Q.N*p.QueryLen), 128, plain)
}

func (d *device) AttentionGrad(p kernels.AttentionGrad) {
	plain := d.gradients(d.plainAttention(p.Attention), p)
	mark := d.scratch.mark()
	defer d.scratch.release(d, mark)
	plain.delta = d.scratch.take(d, 4*p.Batch*p.QueryLen*p.Q.N)
	a, ok := d.tiles(plain)
	if !ok {
		d.plainAttentionGrad(plain)
		p.RotateBack(d)
		return
	}
	c := d.card()
	if a.Splits = int32(attentionSplits(a, c)); a.Splits > 1 {
		a.Part = uint64(d.scratch.take(d, 4*int(a.Splits)*2*p.Batch*p.KeyLen*p.K.N*p.K.Dim))
	}
	if p.Rotation.Half > 0 {
		r := d.rotation("AttentionGrad", p.Rotation, p.Batch*p.QueryLen, p.Q.Dim)
		if a.rotatesBack(r.fast(), c) {
			a.Cos, a.Sin, a.Positions, a.Half, a.Len, a.Start = uint64(r.cos), uint64(r.sin), uint64(r.positions), r.half, r.len, r.start
		}
	}
	d.run(attentionBackward(d.activations, a, c)...)
	if a.Half == 0 {
		p.RotateBack(d)
	}
}

// gradients adds what only an AttentionGrad has.
func (d *device) gradients(a plainAttentionArgs, p kernels.AttentionGrad) plainAttentionArgs {
	const op = "AttentionGrad"
	queries, keys := p.Batch*p.QueryLen, p.Batch*p.KeyLen
	a.dout, a.dq = d.heads(op, p.DOut, queries), d.heads(op, p.DQ, queries)
	a.dk, a.dv = d.heads(op, p.DK, keys), d.heads(op, p.DV, keys)
	return a
}

func (d *device) plainAttentionGrad(a plainAttentionArgs) {
	queries, keys := int(a.batch*a.queries*a.q.n), int(a.batch*a.keys*a.k.n)
	launch(d, "attention_plain.plain_attention_delta", warpGrid(queries), 128, a)
	launch(d, "attention_plain.plain_attention_grad_q", warpGrid(queries), 128, a)
	launch(d, "attention_plain.plain_attention_grad_kv", warpGrid(keys), 128, a)
}
