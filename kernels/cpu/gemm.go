package cpu

// Matrix products in F32: C = alpha op(A) op(B) + beta C + bias.
//
// The promises:
//
//   - An element of C is summed in one order that depends on nothing but k: k is
//     cut into blocks of kBlock, each block is one chain of fused multiply-adds
//     from its first term to its last, and the blocks are added to C in turn.
//     Neither the number of threads, nor the tile an element falls in, nor how
//     many rows or columns there are changes a bit of it. Levels of vector
//     instructions may differ from one another, and so do large products where
//     the machine has AMX (gemm_amx_amd64.go): within those, the same holds.
//   - Where beta is 0, C may hold anything before, NaN too.
//   - Scratch memory is 500 KiB a thread (with AMX 2.2 MiB), made once. Nothing is
//     allocated by a call.
//
// The shape is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication" (ACM TOMS 34(3), 2008): a micro-kernel keeps a tile of C in
// registers, a block of B is packed so that the kernel reads it in order, and the
// blocks fit the caches. B is widened to F32, and transposed where asked, while it
// is packed. A is read where it lies.

import "fmt"

const (
	kBlock = 256 // terms summed in registers before they are added to C
	nBlock = 384 // columns of B packed at a time; every tile width divides it
	mBlock = 256 // rows of A that stay in the second-level cache meanwhile

	inPlaceRows = 16 // up to so many rows of C, packing B costs more than it saves
	swapRows    = 64 // rows of C transposed at a time
)

// operand is the elements of a frozen or computed matrix: exactly one of f32,
// bf16, f16 and nf4 is set, absmax with nf4 (see kernels.Quantized).
type operand struct {
	f32    []float32
	bf16   []uint16
	f16    []uint16
	nf4    []byte
	absmax []float32
}

// len is how many elements there are at most: an odd NF4 matrix has one less.
func (o *operand) len() int {
	switch {
	case o.bf16 != nil:
		return len(o.bf16)
	case o.f16 != nil:
		return len(o.f16)
	case o.nf4 != nil:
		return min(2*len(o.nf4), 64*len(o.absmax))
	}
	return len(o.f32)
}

// gemmArgs is one product. Sizes after op: A [m,k], B [k,n], C [m,n], bias [n] or
// nil. Matrices are row-major with the row strides lda, ldb, ldc; B's first
// element is number off of b. C overlaps neither A nor B.
type gemmArgs struct {
	m, n, k     int
	a           []float32
	lda         int
	transA      bool
	b           operand
	off         int
	ldb         int
	transB      bool
	c           []float32
	ldc         int
	alpha, beta float32
	bias        []float32

	transC bool // C is stored transposed: only swapped sets it
	amx    bool // computed by blockAMX; plan decides that
}

// check panics where a matrix does not lie within its elements: the kernels
// below check nothing.
func (g *gemmArgs) check() {
	if g.m < 0 || g.n < 0 || g.k < 0 || g.off < 0 {
		panic(fmt.Sprintf("cpu: product of %dx%d by %dx%d at %d", g.m, g.k, g.k, g.n, g.off))
	}
	fits := func(name string, rows, cols int, trans bool, off, stride, have int) {
		if trans {
			rows, cols = cols, rows
		}
		if rows == 0 || cols == 0 {
			return
		}
		if rows > 1 && stride < cols || off+(rows-1)*stride+cols > have {
			panic(fmt.Sprintf("cpu: %s of a product is %dx%d with stride %d at %d in %d elements", name, rows, cols, stride, off, have))
		}
	}
	fits("A", g.m, g.k, g.transA, 0, g.lda, len(g.a))
	fits("B", g.k, g.n, g.transB, g.off, g.ldb, g.b.len())
	fits("C", g.m, g.n, g.transC, 0, g.ldc, len(g.c))
	if g.bias != nil && len(g.bias) < g.n {
		panic(fmt.Sprintf("cpu: bias of %d elements for a product of %d columns", len(g.bias), g.n))
	}
}

// swapped is the same product as C' = op(B)' op(A)' where that is better: a tall A
// is transposed, as in the gradient of a LoRA B, and so would be read across its
// rows. Swapped, it takes the place of B, which is packed.
func (g *gemmArgs) swapped() gemmArgs {
	h := *g
	if !g.transA || g.m <= g.n || g.b.f32 == nil || g.bias != nil {
		return h
	}
	h.m, h.n = g.n, g.m
	h.a, h.lda, h.transA = g.b.f32[min(g.off, len(g.b.f32)):], g.ldb, !g.transB
	h.b, h.off, h.ldb, h.transB = operand{f32: g.a}, 0, g.lda, false
	h.transC = true
	return h
}

// simd is what a level of vector instructions brings to the product.
type simd struct {
	rows  int // of the largest tile: a power of two
	lanes int // columns in one vector; a tile is 1, 2 or 3 vectors wide
	mul   func(*tile)

	// transpose writes dst[p*dstStep/4 + r] = the p-th element of row r, for r <
	// lanes and p < lanes*blocks; row r starts rows[r] bytes after src.
	transpose func(dst *float32, dstStep int, src *float32, rows *[maxLanes]int, blocks int)
	// spread copies rows, srcStep bytes apart, to panels: the q-th panelBytes of row
	// r go to dst + q*panelStep + r*panelBytes.
	spread func(dst, src *float32, rows, srcStep, panels, panelBytes, panelStep int)
	// widenBF16, widenF16 and widenNF4 convert n elements, a multiple of 16.
	widenBF16 func(dst *float32, src *uint16, n int)
	widenF16  func(dst *float32, src *uint16, n int)
	widenNF4  func(dst *float32, src *byte, n int, levels *[16]float32, scale float32)
}

const maxLanes = 16

// tile is the micro-kernel's work: rows x cols elements of C, over k terms.
// Steps are in bytes. The elements of B in columns from cols on, to the end of the
// last vector, are readable and have no effect.
type tile struct {
	rows, vecs  int // rows is a power of two
	cols, k     int // cols within the last of the vecs vectors
	a           *float32
	aRow, aStep int // from a row to the next, from a term to the next
	b           *float32
	bStep       int // from a term to the next
	c           *float32
	cRow        int
	bias        *float32 // or nil
	alpha, beta float32
}

// gemmScratch is what one thread needs to compute products. It is large enough for
// Go to align it to a page, so packed is aligned to a cache line: vectors that
// straddle two cost a fifth of the speed.
type gemmScratch struct {
	packed [nBlock * kBlock]float32     // a block of B, panel after panel
	wide   [maxLanes * kBlock]float32   // rows of B on their way into it
	swap   [nBlock * swapRows]float32   // a block of C, transposed
	corner [maxLanes * maxLanes]float32 // what a transpose must not write in full
	rows   [maxLanes]int
	tile   tile
	part   gemmArgs
	simd   *simd
	amx    *amxScratch // nil where AMX is not in use
}

// gemms is a pool's scratch memory, and the product that it is busy with.
type gemms struct {
	scratch    []*gemmScratch // one a worker
	job        gemmArgs
	rows, cols int // of a task
	task       func(worker, lo, hi int)
}

// gemmScratch is the worker's own, for products inside a piece of other work. The
// pool's owner has called initGemms.
func (p *pool) gemmScratch(worker int) *gemmScratch { return p.gemms.scratch[worker] }

// initGemms makes the scratch memory, once.
func (p *pool) initGemms() {
	if p.gemms.scratch == nil {
		p.gemms.scratch = make([]*gemmScratch, p.threads)
		for i := range p.gemms.scratch {
			p.gemms.scratch[i] = &gemmScratch{simd: &simds[levelInUse]}
			if amxInUse {
				p.gemms.scratch[i].amx = newAMX()
			}
		}
		p.gemms.task = p.gemms.run
	}
}

// gemm computes a product on all threads.
func (p *pool) gemm(g gemmArgs) {
	p.initGemms()
	w := &p.gemms
	w.job = w.scratch[0].plan(&g)
	if tasks := w.split(p.threads); tasks == 1 {
		w.scratch[0].block(&w.job, 0, w.job.m, 0, w.job.n)
	} else {
		p.runWorkers(tasks, 1, w.task)
	}
	w.job = gemmArgs{} // keeps no memory alive
}

// smallTask is a product (in multiply-adds) not worth sharing further: some 20
// microseconds.
const smallTask = 1 << 21

// split cuts C into tasks and returns how many: a few for each thread, so that a
// thread that is interrupted keeps nobody waiting. More rows save packing B,
// more columns save reading A.
func (w *gemms) split(threads int) int {
	g, s := &w.job, w.scratch[0].simd
	w.rows, w.cols = max(1, g.m), max(1, min(g.n, nBlock))
	count := func() int { return ceilDiv(g.m, w.rows) * ceilDiv(g.n, w.cols) }
	if threads == 1 {
		return 1
	}
	enough := 4 * threads
	if g.amx { // which splits what others pack, at twice the cost
		enough = 2 * threads
	}
	width := 6 * s.lanes // two tiles; three of AMX
	for count() < enough && w.rows*w.cols*g.k > smallTask {
		switch {
		case w.rows > s.rows && (w.rows > 2*w.cols || w.cols <= width):
			w.rows = ceilDiv(ceilDiv(w.rows, 2), s.rows) * s.rows
		case w.cols > width:
			w.cols = ceilDiv(ceilDiv(w.cols, 2), width) * width
		default:
			return count()
		}
	}
	return count()
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func (w *gemms) run(worker, lo, hi int) {
	g := &w.job
	across := ceilDiv(g.n, w.cols)
	for t := lo; t < hi; t++ {
		i, j := t/across*w.rows, t%across*w.cols
		w.scratch[worker].block(g, i, min(i+w.rows, g.m), j, min(j+w.cols, g.n))
	}
}

// plan checks a product and decides how it is computed.
func (s *gemmScratch) plan(g *gemmArgs) gemmArgs {
	h := g.swapped()
	h.check()
	h.amx = s.amx != nil && h.worthAMX()
	return h
}

// worthAMX reports whether a product gains from AMX: splitting A and B must be
// little work beside multiplying them.
func (g *gemmArgs) worthAMX() bool {
	return !g.transA && !g.transC && g.k >= 128 && g.m*g.n >= 64*(g.m+g.n)
}

// block computes rows [i0,i1) of columns [j0,j1) of C.
func (s *gemmScratch) block(g *gemmArgs, i0, i1, j0, j1 int) {
	if g.amx {
		s.blockAMX(g, i0, i1, j0, j1)
		return
	}
	if g.transC {
		s.blockTransposed(g, i0, i1, j0, j1)
		return
	}
	t := &s.tile
	t.alpha, t.cRow = g.alpha, 4*g.ldc
	inPlace := g.b.f32 != nil && !g.transB && i1-i0 <= inPlaceRows && (j1-j0)%s.simd.lanes == 0
	for j := j0; j < j1; j += nBlock {
		cols := min(nBlock, j1-j)
		for p := 0; p == 0 || p < g.k; p += kBlock { // once even where k is 0
			t.k = min(kBlock, g.k-p)
			t.beta = 1
			if p == 0 {
				t.beta = g.beta
			}
			if !inPlace {
				s.pack(g, p, t.k, j, cols)
			}
			for i := i0; i < i1; i += mBlock {
				s.panels(g, i, min(i+mBlock, i1), j, cols, p, inPlace)
			}
		}
	}
	*t = tile{} // keeps no memory alive
}

// blockTransposed is block where C is stored transposed: by way of a copy that is
// not.
func (s *gemmScratch) blockTransposed(g *gemmArgs, i0, i1, j0, j1 int) {
	for i := i0; i < i1; i += swapRows {
		for j := j0; j < j1; j += nBlock {
			part := &s.part
			*part = *g
			part.m, part.n = min(swapRows, i1-i), min(nBlock, j1-j)
			part.a = g.a[min(len(g.a), i*g.lda):]
			if g.transA {
				part.a = g.a[min(len(g.a), i):]
			}
			part.off += j
			part.c, part.ldc, part.transC = s.swap[:], part.n, false
			c := g.c[j*g.ldc+i:]
			if g.beta != 0 {
				s.transpose(part.c, part.ldc, c, g.ldc, part.n, part.m)
			}
			s.block(part, 0, part.m, 0, part.n)
			s.transpose(c, g.ldc, part.c, part.ldc, part.m, part.n)
			*part = gemmArgs{}
		}
	}
}

// panels multiplies rows [i0,i1) of A by a block of B: the t.k rows from p on of
// cols columns from j on.
func (s *gemmScratch) panels(g *gemmArgs, i0, i1, j, cols, p int, inPlace bool) {
	t := &s.tile
	row, step := g.lda, 1
	if g.transA {
		row, step = step, row
	}
	t.aRow, t.aStep = 4*row, 4*step
	for q := 0; q < cols; q += t.vecs * s.simd.lanes {
		t.vecs = s.simd.vectors(cols - q)
		t.cols = min(t.vecs*s.simd.lanes, cols-q)
		t.bias = nil
		if g.bias != nil && p == 0 {
			t.bias = &g.bias[j+q]
		}
		switch {
		case t.k == 0:
		case inPlace:
			t.b, t.bStep = &g.b.f32[g.off+p*g.ldb+j+q], 4*g.ldb
		default:
			t.b, t.bStep = &s.packed[q*t.k], 4*t.vecs*s.simd.lanes
		}
		t.rows = s.simd.rows
		for i := i0; i < i1; i += t.rows {
			for t.rows > i1-i {
				t.rows /= 2
			}
			t.c = &g.c[i*g.ldc+j+q]
			if t.k > 0 {
				t.a = &g.a[i*row+p*step]
			}
			s.simd.mul(t)
		}
	}
}

// vectors is how wide the next tile is, in vectors, where cols columns are left:
// 3, but rather 2 and 2 than 3 and 1.
func (s *simd) vectors(cols int) int {
	if v := ceilDiv(cols, s.lanes); v == 4 || v < 3 {
		return min(v, 2)
	}
	return 3
}
