package cpu

// product is C = alpha A B + beta C for matrices that fit the caches: B is read
// where it lies, while gemm packs it first. Element (i,p) of A is at a[i*aRow +
// p*aStep]; B has rows of bRow elements, of which whole vectors must be readable
// (those past n have no effect), and C of cRow.
type product struct {
	m, n, k     int
	a           []float32
	aRow, aStep int
	b           []float32
	bRow        int
	c           []float32
	cRow        int
	alpha, beta float32
}

// multiply computes p on the calling thread.
func (s *gemmScratch) multiply(p product) {
	if p.m == 0 || p.n == 0 || p.k == 0 {
		panic("cpu: product without elements")
	}
	lanes, t := s.simd.lanes, &s.tile
	// What the kernel reads last, since it checks nothing.
	_ = p.a[(p.m-1)*p.aRow+(p.k-1)*p.aStep]
	_ = p.b[(p.k-1)*p.bRow+ceilDiv(p.n, lanes)*lanes-1]
	_ = p.c[(p.m-1)*p.cRow+p.n-1]
	t.k, t.alpha, t.beta, t.bias = p.k, p.alpha, p.beta, nil
	t.aRow, t.aStep, t.bStep, t.cRow = 4*p.aRow, 4*p.aStep, 4*p.bRow, 4*p.cRow
	for j := 0; j < p.n; j += t.vecs * lanes {
		t.vecs = s.simd.vectors(p.n - j)
		t.cols = min(t.vecs*lanes, p.n-j)
		t.b = &p.b[j]
		t.rows = s.simd.rows
		for i := 0; i < p.m; i += t.rows {
			for t.rows > p.m-i {
				t.rows /= 2
			}
			t.a, t.c = &p.a[i*p.aRow], &p.c[i*p.cRow+j]
			s.simd.mul(t)
		}
	}
	*t = tile{} // keeps no memory alive
}
