//go:build cuda && cgo && linux

package cuda

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// At the sizes of real models the kernels in tiles agree with the plain ones, which devicetest holds against
// float64 at small sizes.
func TestAttentionOfRealSizes(t *testing.T) {
	if !realGPU {
		t.Skip("minutes without a GPU: SCU_TEST_DEVICE=cuda")
	}
	for _, c := range []struct{ batch, length, heads, kvHeads, dim, half int }{
		{2, 1024, 32, 8, 64, 32}, {1, 1024, 32, 8, 64, 32}, {1, 1024, 24, 8, 128, 64}, {1, 2048, 32, 8, 128, 64}, {2, 512, 8, 4, 256, 128}, {1, 1000, 12, 12, 64, 0}, {2, 1000, 16, 16, 80, 16},
	} {
		d := open(t, kernels.BF16).(*device)
		rows := c.batch * c.length
		rng := rand.New(rand.NewPCG(1, 2))
		matrix := func(heads int) kernels.Heads {
			x := make([]float32, rows*heads*c.dim)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			wide, err := d.Alloc(kernels.F32, len(x))
			must(t, err)
			d.WriteF32(wide, x)
			narrow, err := d.Alloc(kernels.BF16, len(x))
			must(t, err)
			d.Copy(kernels.Matrix(narrow, 1, len(x)), kernels.Matrix(wide, 1, len(x)))
			return kernels.HeadsOf(kernels.Matrix(narrow, rows, heads*c.dim), c.dim)
		}
		lse, err := d.Alloc(kernels.F32, rows*c.heads)
		must(t, err)
		p := kernels.Attention{Batch: c.batch, QueryLen: c.length, KeyLen: c.length, Q: matrix(c.heads), K: matrix(c.kvHeads), V: matrix(c.kvHeads),
			Out: matrix(c.heads), LSE: lse, Scale: 1 / float32(math.Sqrt(float64(c.dim)))}
		g := kernels.AttentionGrad{Attention: p, DOut: matrix(c.heads), DQ: matrix(c.heads), DK: matrix(c.kvHeads), DV: matrix(c.kvHeads)}
		if c.half > 0 {
			angles := make([][]float32, 2)
			for i := range c.length * c.half {
				sin, cos := math.Sincos(float64(i/c.half) * math.Pow(10000, -float64(i%c.half)/float64(c.half)))
				angles[0], angles[1] = append(angles[0], float32(cos)), append(angles[1], float32(sin))
			}
			g.Rotation = kernels.Rotation{Len: c.length, Half: c.half}
			for i, to := range []*kernels.Buffer{&g.Rotation.Cos, &g.Rotation.Sin} {
				*to, err = d.Alloc(kernels.F32, c.length*c.half)
				must(t, err)
				d.WriteF32(*to, angles[i])
			}
		}
		results := func() (all [][]float32) {
			for _, b := range []kernels.Buffer{p.Out.Buf, p.LSE, g.DQ.Buf, g.DK.Buf, g.DV.Buf} {
				x := make([]float32, b.Len())
				must(t, d.ReadF32(x, b))
				all = append(all, x)
				d.Zero(b)
			}
			return all
		}
		d.Attention(p)
		d.AttentionGrad(g)
		fast := results()
		plain := d.plainAttention(p)
		launch(d, "attention_plain.plain_attention", warpGrid(rows*c.heads), 128, plain)
		plain = d.gradients(plain, g)
		plain.delta = d.scratch.take(d, 4*rows*c.heads)
		d.plainAttentionGrad(plain)
		g.RotateBack(d)
		for i, want := range results() {
			var off, norm float64
			for j, w := range want {
				e := float64(fast[i][j]) - float64(w)
				off, norm = off+e*e, norm+float64(w)*float64(w)
			}
			if e := math.Sqrt(off / norm); !(e < 1.5e-2) {
				t.Errorf("%+v: %s is off by %.2g", c, []string{"out", "lse", "dq", "dk", "dv"}[i], e)
			}
		}
		must(t, d.Close())
	}
}
