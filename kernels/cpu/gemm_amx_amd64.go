package cpu

// Matrix products on AMX tiles, which multiply bfloat16 and add in F32: some
// thirteen times the arithmetic of AVX-512, of which F32's accuracy costs six.
//
// An F32 is the sum of three bfloat16, x = x1 + x2 + x3, each the rest rounded to 8
// bits. Of the nine products of two such sums, the six down to 2^-16 of the largest
// are added up in F32; what is left out is below 2^-25, less than F32's rounding
// (Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence
// Datatype for Higher-Precision Computations", ARITH 2019). A frozen bfloat16
// matrix is its own first part: three products are then all of them.
//
// Numbers below 2^-110 lose bits, and infinity turns to NaN.

const (
	amxStep  = 32 // terms of one tile operation
	amxTile  = 32 // rows and columns of C at a time
	amxParts = 3
	amxUnit  = amxTile * amxStep * amxParts // elements of a step of a strip of A or a panel of B

	// Sizes of the blocks that are split at a time, like kBlock and mBlock.
	amxDepth = 512
	amxRows  = 128
)

// tileAMX is the work of mulAMX: rows x cols elements of C, 32 columns at most. A
// step of a or b holds its parts one after the other, each as two tile registers; a
// has the steps of 32 rows before those of the next.
type tileAMX struct {
	steps, rows, cols int
	exact             int // 1 where b has one part only
	pace              int // rows of C to update in a step: 32 in all steps, or more
	a, b              *uint16
	sums              *float32 // 32 x 32, to work in
	c                 *float32
	cRow              int // in bytes
	bias              *float32
	alpha, beta       float32
}

// amxScratch is what one thread needs besides gemmScratch: 1.7 MiB.
type amxScratch struct {
	a      [amxRows * amxDepth * amxParts]uint16
	b      [nBlock * amxDepth * amxParts]uint16
	sums   [amxTile * amxTile]float32
	wide   [amxStep * nBlock]float32       // widened or padded elements, also 16 rows of amxDepth
	turned [amxTile / 2 * amxDepth]float32 // 16 columns of B
	tile   tileAMX
}

func newAMX() *amxScratch { return new(amxScratch) }

// blockAMX is block on AMX.
func (s *gemmScratch) blockAMX(g *gemmArgs, i0, i1, j0, j1 int) {
	x := s.amx
	t := &x.tile
	t.alpha, t.cRow = g.alpha, 4*g.ldc
	t.sums = &x.sums[0]
	t.exact = 0
	if g.b.bf16 != nil {
		t.exact = 1
	}
	for j := j0; j < j1; j += nBlock {
		cols := min(nBlock, j1-j)
		for p := 0; p < g.k; p += amxDepth {
			k := min(amxDepth, g.k-p)
			t.steps = ceilDiv(k, amxStep)
			t.pace = ceilDiv(amxTile, t.steps)
			t.beta = 1
			if p == 0 {
				t.beta = g.beta
			}
			s.splitB(g, p, k, j, cols)
			for i := i0; i < i1; i += amxRows {
				rows := min(amxRows, i1-i)
				s.splitA(g, p, k, i, rows)
				s.tilesAMX(g, i, rows, j, cols, p)
			}
		}
	}
	*t = tileAMX{}
}

// tilesAMX multiplies the split blocks of A and B.
func (s *gemmScratch) tilesAMX(g *gemmArgs, i, rows, j, cols, p int) {
	x := s.amx
	t := &x.tile
	t.a, t.rows = &x.a[0], rows
	for q := 0; q < cols; q += amxTile {
		t.cols = min(amxTile, cols-q)
		t.b = &x.b[q/amxTile*t.steps*amxUnit]
		t.bias = nil
		if g.bias != nil && p == 0 {
			t.bias = &g.bias[j+q]
		}
		t.c = &g.c[i*g.ldc+j+q]
		mulAMX(t)
	}
}

// A step of 32 terms is held as 16 pairs, the terms i and i+16 in each: any order
// does that is A's and B's, and this one needs no shuffles.

// splitA splits rows of A, k elements each from p on.
func (s *gemmScratch) splitA(g *gemmArgs, p, k, i, rows int) {
	steps := ceilDiv(k, amxStep)
	a := operand{f32: g.a}
	for r := 0; r < rows; r += amxTile / 2 {
		src := s.lines(&a, (i+r)*g.lda+p, g.lda, min(amxTile/2, rows-r), k)
		dst := s.amx.a[r/amxTile*steps*amxUnit+r%amxTile*amxStep:]
		splitAMX(&dst[0], &src[0], &s.rows, 4*amxStep/2, 4*amxStep, steps, 0)
	}
}

// lines points s.rows at up to 16 rows of k elements as F32, padded with zeros to
// whole steps, and returns what they are in.
func (s *gemmScratch) lines(o *operand, off, stride, rows, k int) []float32 {
	src := o.f32
	if src != nil && k%amxStep == 0 {
		src = src[off:]
	} else {
		padded := ceilDiv(k, amxStep) * amxStep
		src = s.amx.wide[:]
		for r := range rows {
			row := src[r*padded : (r+1)*padded]
			s.simd.widen(row[:k], o, off+r*stride)
			clear(row[k:])
		}
		stride = padded
	}
	for r := range s.rows { // what is missing repeats the last row: C's columns and rows end before
		s.rows[r] = 4 * stride * min(r, rows-1)
	}
	return src
}

// splitB splits rows [p, p+k) of columns [j, j+cols) of op(B).
func (s *gemmScratch) splitB(g *gemmArgs, p, k, j, cols int) {
	x := s.amx
	steps := ceilDiv(k, amxStep)
	const half = amxTile / 2
	if g.transB {
		for q := 0; q < cols; q += half {
			src := s.lines(&g.b, g.off+(j+q)*g.ldb+p, g.ldb, min(half, cols-q), k)
			transposeAVX512(&x.turned[0], 4*half, &src[0], &s.rows, 2*steps)
			s.rowsApart(4 * half)
			splitAMX(&x.b[q/amxTile*steps*amxUnit+q%amxTile*amxStep], &x.turned[0], &s.rows,
				4*half*amxStep/2, 4*half*amxStep, steps, x.tile.exact)
		}
		return
	}
	padded := ceilDiv(cols, half) * half
	for step := range steps {
		rows := min(amxStep, k-step*amxStep)
		src, stride := g.b.f32, g.ldb
		if src != nil && rows == amxStep && padded == cols {
			src = src[g.off+(p+step*amxStep)*g.ldb+j:]
		} else {
			src, stride = x.wide[:], padded
			for r := range rows {
				s.simd.widen(src[r*padded:r*padded+cols], &g.b, g.off+(p+step*amxStep+r)*g.ldb+j)
			}
			clear(src[rows*padded : amxStep*padded])
		}
		s.rowsApart(4 * stride)
		for q := 0; q < cols; q += half {
			splitAMX(&x.b[(q/amxTile*steps+step)*amxUnit+q%amxTile*amxStep], &src[q], &s.rows,
				4*stride*amxStep/2, 0, 1, x.tile.exact)
		}
	}
}

// rowsApart sets s.rows to rows so many bytes apart.
func (s *gemmScratch) rowsApart(bytes int) {
	for r := range s.rows {
		s.rows[r] = r * bytes
	}
}

//go:noescape
func mulAMX(t *tileAMX)

// splitAMX splits steps of 16 lines of 32 floats. Of line r of the first step, 16
// floats start lines[r] bytes after src and 16 another bytes on; each step is step
// bytes after the one before. In dst a step takes amxUnit elements, and line r 32 of
// the first half of each part. With exact, the floats are bfloat16, and only the
// first part is written.
//
//go:noescape
func splitAMX(dst *uint16, src *float32, lines *[maxLanes]int, another, step, steps, exact int)
