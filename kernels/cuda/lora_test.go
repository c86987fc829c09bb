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

// Every thin product, with and without a mask, against plain sums.
func TestLoRA(t *testing.T) {
	for _, c := range []struct {
		dtype kernels.DType
		m, n  int
		ranks []int
		keep  int // of 256; 0: no mask
		on    int // multiprocessors
	}{
		{dtype: kernels.BF16, m: 100, n: 640, ranks: []int{16}, on: 2},
		{dtype: kernels.F16, m: 50, n: 200, ranks: []int{8}, on: 2},
		{dtype: kernels.BF16, m: 70, n: 576, ranks: []int{16, 8}, keep: 200, on: 2},
		{dtype: kernels.BF16, m: 40, n: 128, ranks: []int{16, 16, 8}, keep: 128, on: 2},
		{dtype: kernels.F16, m: 33, n: 192, ranks: []int{16, 16, 16, 16}, keep: 243, on: 2},
		{dtype: kernels.BF16, m: 290, n: 72, ranks: []int{16, 8}, on: 40},                 // many parts of few columns
		{dtype: kernels.BF16, m: 140, n: 4680, ranks: []int{8}, on: 2},                    // and of few rows
		{dtype: kernels.F16, m: 1100, n: 128, ranks: []int{16, 16, 16}, keep: 99, on: 20}, // many of tall
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			testLoRA(t, card{multiprocessors: c.on}, c.dtype, c.m, c.n, c.ranks, c.keep)
		})
	}
}

// A little card's blocks have room for the calls that it gets.
func TestLittleCard(t *testing.T) {
	little := card{multiprocessors: 20, little: true}
	l := lora{T: kernels.BF16, M: 100, N: 640, Mask: 1, Groups: make([]loraGroup, little.groups())}
	down, _ := l.down(little)
	tall, _ := l.tall(little, l.Groups)
	l.Mask = 0
	both, _ := l.both(little, l.Groups, l.Groups)
	for _, c := range []call{down, tall, both, l.up(), l.add()} {
		if c.shared > 99<<10 {
			t.Errorf("%s takes %d bytes of shared memory", c.kernel, c.shared)
		}
	}
}

func testLoRA(t *testing.T, few card, dtype kernels.DType, m, n int, ranks []int, keep int) {
	g := newGPU(t)
	rounded := func(x []float64) []float64 { // as a product reads it
		_, y := newGPU(t).put(dtype, x)
		return y
	}
	x, xs := g.put(dtype, g.normal(m*n))
	dst, sums := g.put(dtype, g.normal(m*n))
	l := lora{T: dtype, X: x, M: m, N: n, XRow: n}
	var before []call
	if keep > 0 {
		l.Mask = g.alloc(m * n / 8)
		key := g.alloc(8) // all ones: ^0
		before = append(before, loraMask(l.Mask, key, 7, m*n, keep))
	}
	var us, as, bs [][]float64
	up, down, both, du, db, da := l, l, l, []loraGroup(nil), []loraGroup(nil), []loraGroup(nil)
	down.Groups, up.X = nil, dst
	both.Mask, up.Mask = 0, 0
	made, add := l, up
	add.Mask = l.Mask
	var dbs, das [][]float64
	for _, r := range ranks {
		rank, stride := int32(r), int32(16)
		a, av := g.put(kernels.F32, g.normal(r*n))
		b, bv := g.put(kernels.F32, g.normal(n*r))
		u, uv := g.put(dtype, g.normal(m*16)) // [m,16], of which rank count
		w := make([]float64, 0, m*r)
		for i := range m {
			w = append(w, uv[i*16:i*16+r]...)
		}
		us, as, bs = append(us, w), append(as, rounded(av)), append(bs, rounded(bv))
		down.Groups = append(down.Groups, loraGroup{W: a, WRow: int32(n), U: g.alloc(2 * m * 16), URow: stride, Rank: rank, Scale: 1.25})
		made.Groups = append(made.Groups, loraGroup{U: u, URow: stride, Rank: rank})
		both.Groups = append(both.Groups, loraGroup{W: b, WRow: rank, U: u, URow: stride, Rank: rank})
		up.Groups = append(up.Groups, loraGroup{W: b, WRow: rank, U: u, URow: stride, Rank: rank, Scale: 0.5})
		add.Groups = append(add.Groups, loraGroup{W: a, WRow: int32(n), U: u, URow: stride, Rank: rank, Scale: 1.5})
		du = append(du, loraGroup{U: g.alloc(2 * m * 16), URow: stride, Rank: rank, Scale: 2})
		at, v := g.put(kernels.F32, g.normal(n*r))
		db, dbs = append(db, loraGroup{U: at, URow: rank, Rank: rank, Scale: 2}), append(dbs, v)
		at, v = g.put(kernels.F32, g.normal(n*r))
		da, das = append(da, loraGroup{U: at, URow: int32(n), Rank: rank, Scale: 1.25}), append(das, v)
	}
	parts := func(l *lora) {
		d, b := l.parts(few)
		l.Part, l.PartB = g.alloc(4*max(d, l.tallParts(few))), g.alloc(4*b)
	}
	parts(&down)
	parts(&made)
	one, sums1 := down.down(few)
	two, sums2 := made.tall(few, da)
	ofRow, ofRows := g.put(kernels.F32, g.normal(m)) // what du is multiplied by, and dA
	ofColumn, ofColumns := g.put(kernels.F32, g.normal(n))
	for i := range sums2 {
		sums2[i] = sums2[i].multiplied(ofColumn, 0.5)
	}
	calls, all := append(before, one, two), append(sums1, sums2...)
	if len(ranks) <= 2 {
		parts(&both)
		one, sums := both.both(few, du, db)
		calls, all = append(calls, one), append(all, sums...)
	}
	// The same of layers of one group each, in one call; here they have one dy.
	ofLayers, ofLayersDB := []loraGroup(nil), []loraGroup(nil)
	if n := len(ranks); n > 1 && n <= mostLayers {
		var layers []lora
		for i := range ranks {
			l := both
			l.Groups = both.Groups[i : i+1]
			parts(&l)
			layers = append(layers, l)
			u, b := du[i], db[i]
			u.Also, u.AlsoRow = g.alloc(2*m*16), 16
			u.U = g.alloc(2 * m * 16)
			b.U, _ = g.put(kernels.F32, dbs[i])
			ofLayers, ofLayersDB = append(ofLayers, u), append(ofLayersDB, b)
		}
		one, sums := bothOfLayers(few, layers, ofLayers, ofLayersDB)
		for i := range sums {
			sums[i] = sums[i].multiplied(ofRow, 0)
		}
		calls, all = append(calls, one), append(all, sums...)
	}
	// Beside those, what a product reads: B's columns among zeros, A as it is and transposed, and a bias beside ones.
	r0 := ranks[0]
	columns, rows, turned := g.alloc(2*(n+3)*16), g.alloc(2*r0*(n+8)), g.alloc(2*n*16)
	bias, biases := g.put(kernels.F32, g.normal(n))
	ones, terms, termsBelow := g.alloc(2*m*24), g.alloc(2*n*24), g.alloc(2*biasColumns*n)
	puts := []loraPut{
		{From: up.Groups[0].W, To: columns, Rows: int32(n + 3), Cols: int32(r0), Begin: 2, End: int32(n + 2), FromRow: int32(r0), FromColumn: 1, ToRow: 16, Scale: 0.5},
		{From: down.Groups[0].W, To: rows, Rows: int32(r0), Cols: int32(n), End: int32(r0), FromRow: int32(n), FromColumn: 1, ToRow: int32(n + 8), Scale: 1},
		{From: down.Groups[0].W, To: turned, Rows: int32(n), Cols: int32(r0), End: int32(n), FromRow: 1, FromColumn: int32(n), ToRow: 16, Scale: 1},
		{To: ones, Rows: int32(m), Cols: biasColumns, End: int32(m), ToRow: 24, Kind: putOnes},
		{From: bias, To: terms, Rows: int32(n), Cols: biasColumns, End: int32(n), FromRow: 1, ToRow: 24, Kind: putBias},
		{From: bias, To: termsBelow, Rows: biasColumns, Cols: int32(n), End: biasColumns, FromColumn: 1, ToRow: int32(n), Kind: putBias},
	}
	calls = append(calls, sumsAndPuts(dtype, all, puts)...)
	g.run(append(calls, up.up(), add.add())...)

	gotColumns, gotRows, gotTurned := g.get(dtype, columns, (n+3)*16), g.get(dtype, rows, r0*(n+8)), g.get(dtype, turned, n*16)
	for i := range n + 3 {
		for j := range r0 {
			want := 0.0
			if i >= 2 && i < n+2 {
				want = 0.5 * bs[0][(i-2)*r0+j]
			}
			if got := gotColumns[i*16+j]; got != want {
				t.Fatalf("B was put as %v at %d, %d, want %v", got, i, j, want)
			}
			if i < n && (gotRows[j*(n+8)+i] != as[0][j*n+i] || gotTurned[i*16+j] != as[0][j*n+i]) {
				t.Fatalf("A was put as %v and, transposed, %v at %d, %d, want %v", gotRows[j*(n+8)+i], gotTurned[i*16+j], j, i, as[0][j*n+i])
			}
		}
	}

	gotOnes, gotTerms, gotBelow := g.get(dtype, ones, m*24), g.get(dtype, terms, n*24), g.get(dtype, termsBelow, biasColumns*n)
	for j := range n {
		var sum, below float64
		for k := range biasColumns {
			one := gotOnes[j%m*24+k]
			sum, below = sum+one*gotTerms[j*24+k], below+one*gotBelow[k*n+j]
		}
		if want := biases[j]; math.Abs(sum-want) > 1e-7 || sum != below {
			t.Fatalf("a bias of %v was put as terms of %v, and below as %v", want, sum, below)
		}
	}

	kept := func(int) float64 { return 1 }
	if keep > 0 {
		bits := g.memory[l.Mask-base:]
		mask := random.NewMask(1-float32(keep)/256, random.Key(^uint64(0), 7))
		for i := range m * n / 32 {
			if got, want := binary.LittleEndian.Uint32(bits[4*i:]), mask.Bits(uint64(i)); got != want {
				t.Fatalf("word %d of the mask is %#x, want %#x as package random defines it", i, got, want)
			}
		}
		kept = func(i int) float64 { return float64(bits[i/8] >> (i % 8) & 1) }
	}
	unit := units[dtype]
	for p, r := range ranks {
		wantU, wantDU := make([]float64, m*r), make([]float64, m*r)
		for i := range m {
			for j := range n {
				v := xs[i*n+j]
				for k := range r {
					wantU[i*r+k] += 1.25 * kept(i*n+j) * v * as[p][k*n+j]
					wantDU[i*r+k] += 2 * v * bs[p][j*r+k]
					dbs[p][j*r+k] += 2 * v * us[p][i*r+k]
					das[p][k*n+j] += (ofColumns[j] + 0.5) * 1.25 * kept(i*n+j) * v * us[p][i*r+k]
					sums[i*n+j] += 0.5*us[p][i*r+k]*bs[p][j*r+k] + 1.5*kept(i*n+j)*us[p][i*r+k]*as[p][k*n+j]
				}
			}
		}
		gotU := func(at uint64) []float64 {
			var x []float64
			all := g.get(dtype, at, m*16)
			for i := range m {
				x = append(x, all[i*16:i*16+r]...)
			}
			return x
		}
		near(t, fmt.Sprint("u of part ", p), gotU(down.Groups[p].U), wantU, unit)
		near(t, fmt.Sprint("da of part ", p), g.get(kernels.F32, da[p].U, n*r), das[p], 1e-5)
		if ofLayers != nil {
			near(t, fmt.Sprint("du of layer ", p), gotU(ofLayers[p].U), wantDU, unit)
			scaled := make([]float64, len(wantDU))
			for i := range scaled {
				scaled[i] = wantDU[i] * ofRows[i/r]
			}
			near(t, fmt.Sprint("scaled du of layer ", p), gotU(ofLayers[p].Also), scaled, unit)
			near(t, fmt.Sprint("db of layer ", p), g.get(kernels.F32, ofLayersDB[p].U, n*r), dbs[p], 1e-5)
		}
		if len(ranks) <= 2 {
			near(t, fmt.Sprint("du of part ", p), gotU(du[p].U), wantDU, unit)
			near(t, fmt.Sprint("db of part ", p), g.get(kernels.F32, db[p].U, n*r), dbs[p], 1e-5)
		}
	}
	// scaled weights are rounded once more, and dst twice
	near(t, "dst", g.get(dtype, dst, m*n), sums, 3*unit)
}
