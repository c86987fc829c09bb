package cpu

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// What a training step does besides matrix products, at the sizes of
// bookworm-2m (4x256 tokens, 6 heads over 2 of 32, 192 wide) and of GPT-2 (12 heads
// of 64, 768 wide).
func BenchmarkOperations(b *testing.B) {
	for _, m := range []struct {
		name                                            string
		batch, length, width, ff, heads, kv, dim, vocab int
	}{
		{"bookworm", 4, 256, 192, 512, 6, 2, 32, 4096},
		{"bookworm512", 8, 512, 192, 512, 6, 2, 32, 4096},
		{"gpt2", 4, 256, 768, 3072, 12, 12, 64, 50257},
	} {
		d, err := New(runtime.NumCPU())
		if err != nil {
			b.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		flat := func(n int) kernels.Buffer {
			buf, err := d.Alloc(kernels.F32, n)
			if err != nil {
				b.Fatal(err)
			}
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			d.WriteF32(buf, x)
			return buf
		}
		rows := m.batch * m.length
		mat := func(cols int) kernels.Mat { return kernels.Matrix(flat(rows*cols), rows, cols) }
		x, y, dy := mat(m.width), mat(m.width), mat(m.width)
		up, gate, dup := mat(m.ff), mat(m.ff), mat(m.ff)
		norm := kernels.Norm{Dst: y, X: x, Weight: flat(m.width), Rstd: flat(rows), Eps: 1e-5}
		q, out, dq := mat(m.heads*m.dim), mat(m.heads*m.dim), mat(m.heads*m.dim)
		k, v, dk, dv := mat(m.kv*m.dim), mat(m.kv*m.dim), mat(m.kv*m.dim), mat(m.kv*m.dim)
		heads := func(m kernels.Mat, dim int) kernels.Heads { return kernels.HeadsOf(m, dim) }
		attention := kernels.Attention{Batch: m.batch, QueryLen: m.length, KeyLen: m.length, Q: heads(q, m.dim), K: heads(k, m.dim),
			V: heads(v, m.dim), Out: heads(out, m.dim), LSE: flat(rows * m.heads), Scale: 0.1}
		// The same rows as eight documents each.
		starts, err := d.Alloc(kernels.I32, rows)
		if err != nil {
			b.Fatal(err)
		}
		begin := make([]int32, rows)
		for i := range begin {
			position := i % m.length
			begin[i] = int32(position - position%(m.length/8))
		}
		d.WriteI32(starts, begin)
		packed := attention
		packed.Starts = starts
		head := kernels.Matrix(flat(m.vocab*m.width), m.vocab, m.width)
		targets, err := d.Alloc(kernels.I32, rows)
		if err != nil {
			b.Fatal(err)
		}
		weights := flat(1 << 18)
		cos := flat(m.length * m.dim / 2)
		d.Zero(cos) // the angle may be anything: the heads stay finite
		sum, err := d.Alloc(kernels.F64, 2)
		if err != nil {
			b.Fatal(err)
		}
		d.WriteF64(sum, []float64{0, 1})
		key, err := d.Alloc(kernels.U64, 1)
		if err != nil {
			b.Fatal(err)
		}
		mask := kernels.Mask{P: 0.05, Key: kernels.Scalar{Buf: key}, Module: 7}
		for _, op := range []struct {
			name string
			f    func()
		}{
			{"Add", func() { d.Add(y, x, dy) }},
			{"Norm", func() { d.Norm(norm) }},
			{"AddNorm", func() { d.AddNorm(kernels.AddNorm{Norm: norm, A: x, B: dy}) }},
			{"NormGrad", func() { d.NormGrad(kernels.NormGrad{Norm: norm, DX: y, DY: dy, Accumulate: true}) }},
			{"RoPE", func() {
				d.RoPE(kernels.RoPE{X: heads(dq, m.dim), Rows: rows, Rotation: kernels.Rotation{Len: m.length, Half: m.dim / 2, Cos: cos, Sin: cos}})
			}},
			{"Gate", func() { d.Gate(kernels.SiLU, dup, gate, up) }},
			{"GateGrad", func() { d.GateGrad(kernels.SiLU, dup, dup, gate, up, up) }},
			{"GELUTanh", func() { d.Activate(kernels.GELUTanh, dup, gate) }},
			{"Dropout", func() { d.Dropout(kernels.Dropout{Dst: y, Src: x, Mask: mask}) }},
			{"Attention", func() { d.Attention(attention) }},
			{"AttentionGrad", func() {
				d.AttentionGrad(kernels.AttentionGrad{Attention: attention, DOut: heads(out, m.dim), DQ: heads(dq, m.dim), DK: heads(dk, m.dim), DV: heads(dv, m.dim)})
			}},
			{"AttentionOfDocuments", func() { d.Attention(packed) }},
			{"AttentionGradOfDocuments", func() {
				d.AttentionGrad(kernels.AttentionGrad{Attention: packed, DOut: heads(out, m.dim), DQ: heads(dq, m.dim), DK: heads(dk, m.dim), DV: heads(dv, m.dim)})
			}},
			{"LinearCrossEntropy", func() {
				d.LinearCrossEntropy(kernels.LinearCrossEntropy{X: x, Head: head, Targets: targets, Losses: norm.Rstd, DX: y, GradScale: kernels.Scalar{Buf: sum, I: 1}})
			}},
			{"SumSquares", func() { d.SumSquares(kernels.Scalar{Buf: sum}, weights) }},
		} {
			b.Run(m.name+"/"+op.name, func(b *testing.B) {
				for b.Loop() {
					op.f()
				}
			})
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
