//go:build linux

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// A feed-forward layer, gated or not, with the adapters beside it, forward and backward, with and without a mask, against
// plain sums.
func TestGateLoRA(t *testing.T) {
	for _, c := range []struct {
		dtype kernels.DType
		act   kernels.Activation
		m, n  int
		ranks [3]int32 // of gate, up and down
		keep  int      // of 256; 0: no mask
		plain bool     // without up
	}{
		{dtype: kernels.BF16, act: kernels.SiLU, m: 100, n: 640, ranks: [3]int32{16, 16, 16}},
		{dtype: kernels.F16, act: kernels.GELUTanh, m: 50, n: 200, ranks: [3]int32{8, 16, 8}},
		{dtype: kernels.BF16, act: kernels.GELUTanh, m: 35, n: 576, ranks: [3]int32{16, 8, 16}, keep: 200},
		{dtype: kernels.F16, act: kernels.SiLU, m: 16, n: 64, ranks: [3]int32{8, 8, 16}, keep: 128},
		{dtype: kernels.BF16, act: kernels.GELUTanh, m: 100, n: 640, ranks: [3]int32{16, 0, 16}, plain: true},
		{dtype: kernels.F16, act: kernels.GELUTanh, m: 35, n: 576, ranks: [3]int32{16, 0, 8}, keep: 200, plain: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			g, few := newGPU(t), card{multiprocessors: 2}
			m, n := c.m, c.n
			const row = 1288 // gate and up lie side by side
			both, values := g.put(c.dtype, g.normal(m*row))
			dx, dxs := g.put(c.dtype, g.normal(m*n))
			l := gateLoRA{T: c.dtype, Activation: c.act}
			l.Gate, l.Up, l.DX, l.X, l.M, l.N = both, both+uint64(2*n), dx, g.alloc(2*m*n), int32(m), int32(n)
			made := 2
			if c.plain {
				l.Up, made = 0, 1
			}
			l.DGate, l.DUp = l.Gate, l.Up
			l.GateRow, l.UpRow, l.DXRow, l.XRow, l.DGateRow, l.DUpRow = row, row, int32(n), int32(n), row, row
			var before []call
			if c.keep > 0 {
				l.Mask = g.alloc(m * n / 8)
				before = append(before, loraMask(l.Mask, g.alloc(8), 7, m*n, c.keep))
			}
			l.Rank = c.ranks
			into := func(dtype kernels.DType, elements int, stride, rank int32, scale float32) (loraGroup, []float64) {
				at, v := g.put(dtype, g.normal(elements))
				return loraGroup{U: at, URow: stride, Rank: rank, Scale: scale}, v
			}
			a, as := g.put(kernels.F32, g.normal(int(c.ranks[ofDown])*n))
			forward := l
			forward.W[ofDown], forward.WRow[ofDown] = a, int32(n)
			u, _ := into(c.dtype, m*16, 16, c.ranks[ofDown], 1.25)
			du, db := make([]loraGroup, made), make([]loraGroup, made)
			var ws, us, dbs [3][]float64
			for of := range du {
				r := c.ranks[of]
				l.W[of], ws[of] = g.put(kernels.F32, g.normal(n*int(r)))
				l.WRow[of], l.URow[of] = r, 16
				l.U[of], us[of] = g.put(c.dtype, g.normal(m*16))
				du[of], _ = into(c.dtype, m*16, 16, r, 2)
				db[of], dbs[of] = into(kernels.F32, n*int(r), r, r, 0.5)
			}
			l.U[ofDown], us[ofDown] = g.put(c.dtype, g.normal(m*16))
			l.URow[ofDown] = 16
			da, das := into(kernels.F32, int(c.ranks[ofDown])*n, int32(n), c.ranks[ofDown], 1.25)
			down, part, partB := l.parts(few)
			forward.Part, l.Part, l.PartB = g.alloc(4*down), g.alloc(4*part), g.alloc(4*partB)
			one, sums := forward.down(few, u)
			two, sums2 := l.both(few, du, db, da)
			g.run(append(append(before, one, two), sumsAndPuts(c.dtype, append(sums, sums2...), nil)...)...)

			kept := func(int) float64 { return 1 }
			if c.keep > 0 {
				bits := g.memory[l.Mask-base:]
				if got, want := binary.LittleEndian.Uint32(bits), random.NewMask(1-float32(c.keep)/256, random.Key(^uint64(0), 7)).Bits(0); got != want {
					t.Fatalf("the mask begins with %#x, want %#x", got, want)
				}
				kept = func(i int) float64 { return float64(bits[i/8] >> (i % 8) & 1) }
			}
			round := func(x []float64) []float64 { _, y := newGPU(t).put(c.dtype, x); return y }
			x, dgate, dup := make([]float64, m*n), make([]float64, m*n), make([]float64, m*n)
			for i := range m {
				for j := range n {
					gate, up := values[i*row+j], values[i*row+n+j]
					if c.plain {
						up = 1
					}
					y, slope := activationOf(c.act, gate)
					at := i*n + j
					x[at], dgate[at], dup[at] = y*up, dxs[at]*slope*up, dxs[at]*y
					if c.plain {
						dup[at] = values[i*row+n+j] // as it was
					}
				}
			}
			unit := units[c.dtype]
			near(t, "x", g.get(c.dtype, l.X, m*n), x, unit)
			got := g.get(c.dtype, both, m*row)
			var gotGate, gotUp []float64
			for i := range m {
				gotGate, gotUp = append(gotGate, got[i*row:i*row+n]...), append(gotUp, got[i*row+n:i*row+2*n]...)
			}
			near(t, "dgate", gotGate, dgate, unit)
			near(t, "dup", gotUp, dup, unit)
			x, dgate, dup = round(x), round(dgate), round(dup) // as the products read them
			as, ws[0], ws[1] = round(as), round(ws[0]), round(ws[1])
			wantU := make([]float64, m*16)
			for i := range m {
				for j := range n {
					at := i*n + j
					for k := range int(c.ranks[ofDown]) {
						wantU[i*16+k] += 1.25 * kept(at) * x[at] * as[k*n+j]
						das[k*n+j] += 1.25 * kept(at) * x[at] * us[ofDown][i*16+k]
					}
				}
			}
			columns := func(at uint64, r int32) []float64 { // of [m,16]
				all := g.get(c.dtype, at, m*16)
				for i := range all {
					if int32(i%16) >= r {
						all[i] = 0
					}
				}
				return all
			}
			near(t, "u", columns(u.U, u.Rank), wantU, 2*unit)
			near(t, "da", g.get(kernels.F32, da.U, len(das)), das, unit)
			for of, dy := range [][]float64{dgate, dup}[:made] {
				r := int(c.ranks[of])
				want := make([]float64, m*16)
				for i := range m {
					for j := range n {
						for k := range r {
							want[i*16+k] += 2 * dy[i*n+j] * ws[of][j*r+k]
							dbs[of][j*r+k] += 0.5 * dy[i*n+j] * us[of][i*16+k]
						}
					}
				}
				near(t, fmt.Sprint("du ", of), columns(du[of].U, du[of].Rank), want, 2*unit)
				near(t, fmt.Sprint("db ", of), g.get(kernels.F32, db[of].U, n*r), dbs[of], unit)
			}
		})
	}
}

// activationOf is act(x) and its derivative.
func activationOf(act kernels.Activation, x float64) (y, slope float64) {
	if act == kernels.SiLU {
		s := 1 / (1 + math.Exp(-x))
		return x * s, s * (1 + x*(1-s))
	}
	c := math.Sqrt(2 / math.Pi)
	t := math.Tanh(c * (x + 0.044715*x*x*x))
	return 0.5 * x * (1 + t), 0.5*(1+t) + 0.5*x*(1-t*t)*c*(1+3*0.044715*x*x)
}
