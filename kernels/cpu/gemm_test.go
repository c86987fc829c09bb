package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// levels are those that this machine runs.
func levels() []level {
	var all []level
	for l := portable; l <= machineLevel(); l++ {
		all = append(all, l)
	}
	return all
}

// gemmKind is one way in which this package computes products.
type gemmKind struct {
	level level
	amx   bool
}

func (k gemmKind) String() string {
	if k.amx {
		return "amx"
	}
	return k.level.String()
}

// gemmKinds are those that this machine runs.
func gemmKinds() []gemmKind {
	var all []gemmKind
	for _, l := range levels() {
		all = append(all, gemmKind{level: l})
	}
	if machineLevel() == avx512 && machineAMX() {
		all = append(all, gemmKind{avx512, true})
	}
	return all
}

// gemmPool is a pool whose products are of the given kind.
func gemmPool(t testing.TB, threads int, k gemmKind) *pool {
	p := newPool(threads)
	t.Cleanup(p.close)
	p.initGemms()
	for _, s := range p.gemms.scratch {
		s.simd, s.amx = &simds[k.level], nil
		if k.amx {
			s.amx = newAMX()
		}
	}
	return p
}

// randomOperand returns n elements of the given type and their values.
func randomOperand(r *rand.Rand, t kernels.DType, n int) (o operand, values []float32) {
	values = randomFloats(r, n)
	switch t {
	case kernels.F32:
		o.f32 = values
	case kernels.BF16:
		o.bf16 = make([]uint16, n)
		for i, x := range values {
			o.bf16[i] = kernels.ToBF16(x)
			values[i] = kernels.FromBF16(o.bf16[i])
		}
	case kernels.F16:
		o.f16 = make([]uint16, n)
		for i, x := range values {
			o.f16[i] = kernels.ToF16(x)
			values[i] = kernels.FromF16(o.f16[i])
		}
	case kernels.NF4:
		o.nf4 = make([]byte, (n+1)/2)
		o.absmax = make([]float32, ceilDiv(n, kernels.NF4Block))
		for i := range o.nf4 {
			o.nf4[i] = byte(r.Uint32())
		}
		for i := range o.absmax {
			o.absmax[i] = 2 * r.Float32()
		}
		q := kernels.Quantized{Packed: o.nf4, Absmax: o.absmax, N: n}
		for i := range values {
			values[i] = q.At(i)
		}
	}
	return o, values
}

func randomFloats(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// gemmCase is a product of random matrices, and B's values.
type gemmCase struct {
	gemmArgs
	dtype  kernels.DType
	values []float32
}

func (c *gemmCase) String() string {
	return fmt.Sprintf("%dx%dx%d lda %d trans %v, B %v at %d ldb %d trans %v, ldc %d, alpha %v beta %v bias %v",
		c.m, c.n, c.k, c.lda, c.transA, c.dtype, c.off, c.ldb, c.transB, c.ldc, c.alpha, c.beta, c.bias != nil)
}

// randomCase draws all but the sizes. Where beta is 0, C starts with a NaN.
func randomCase(r *rand.Rand, m, n, k int) *gemmCase {
	c := &gemmCase{dtype: []kernels.DType{kernels.F32, kernels.F32, kernels.BF16, kernels.F16, kernels.NF4}[r.IntN(5)]}
	gap := func() int { return r.IntN(2) * r.IntN(20) }
	c.m, c.n, c.k = m, n, k
	c.transA, c.transB = r.IntN(2) == 0, r.IntN(2) == 0
	rows, cols := m, k
	if c.transA {
		rows, cols = cols, rows
	}
	c.lda = cols + gap()
	c.a = randomFloats(r, rows*c.lda)
	rows, cols = k, n
	if c.transB {
		rows, cols = cols, rows
	}
	c.off, c.ldb = gap(), cols+gap()
	c.b, c.values = randomOperand(r, c.dtype, c.off+rows*c.ldb)
	c.ldc = n + gap()
	c.c = randomFloats(r, m*c.ldc)
	c.alpha = []float32{1, 1, 0, -0.75}[r.IntN(4)]
	c.beta = []float32{0, 1, 0.5}[r.IntN(3)]
	if r.IntN(2) == 0 {
		c.bias = randomFloats(r, n)
	}
	if c.beta == 0 && m*n > 0 {
		c.c[0] = float32(math.NaN())
	}
	return c
}

// want returns element (i,j) of the product, and by how much F32 may miss it.
func (c *gemmCase) want(i, j int) (value, tolerance float64) {
	var sum, size float64
	for p := range c.k {
		ia, ib := i*c.lda+p, c.off+p*c.ldb+j
		if c.transA {
			ia = p*c.lda + i
		}
		if c.transB {
			ib = c.off + j*c.ldb + p
		}
		x := float64(c.a[ia]) * float64(c.values[ib])
		sum += x
		size += math.Abs(x)
	}
	sum, size = sum*float64(c.alpha), size*math.Abs(float64(c.alpha))
	if c.beta != 0 {
		x := float64(c.beta) * float64(c.c[i*c.ldc+j])
		sum, size = sum+x, size+math.Abs(x)
	}
	if c.bias != nil {
		sum, size = sum+float64(c.bias[j]), size+math.Abs(float64(c.bias[j]))
	}
	roundings := min(c.k, kBlock) + c.k/kBlock + 4
	return sum, size * float64(roundings) * 0x1p-24
}

// run computes the case on p into a copy of C with guards around it, and checks
// the guards.
func (c *gemmCase) run(t *testing.T, p *pool) []float32 {
	t.Helper()
	const guard = 50
	all := make([]float32, guard+len(c.c)+guard)
	for i := range all {
		all[i] = 1e30
	}
	g := c.gemmArgs
	g.c = all[guard : guard+len(c.c)]
	copy(g.c, c.c)
	p.gemm(g)
	for i, x := range all {
		i -= guard
		outside := i < 0 || i >= len(c.c)
		if outside && x != 1e30 || !outside && i%max(c.ldc, 1) >= c.n && x != c.c[i] {
			t.Fatalf("%v: element %d, outside of C, was written", c, i)
		}
	}
	return g.c
}

func (c *gemmCase) check(t *testing.T, got []float32) {
	t.Helper()
	for i := range c.m {
		for j := range c.n {
			want, tolerance := c.want(i, j)
			if x := float64(got[i*c.ldc+j]); !(math.Abs(x-want) <= tolerance) {
				t.Fatalf("%v: element (%d,%d) is %v, want %v within %v", c, i, j, x, want, tolerance)
			}
		}
	}
}

// awkward sizes: around every tile, vector and block.
var awkward = []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 72, 96, 97,
	100, 128, 191, 192, 193, 255, 256, 257, 300, 383, 384, 385, 400, 512, 513, 600, 769, 1030}

func TestGemmAgainstFloat64(t *testing.T) {
	for _, kind := range gemmKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			p := gemmPool(t, 2, kind)
			cases, smallest, work := 400, 0, 300_000
			if kind.amx {
				cases, smallest, work = 40, 128, 9_000_000
			}
			for cases > 0 {
				size := func() int { return awkward[r.IntN(len(awkward))] }
				m, n, k := size(), size(), size()
				if min(m, n, k) < smallest || m*n*k > work {
					continue
				}
				c := randomCase(r, m, n, k)
				if kind.amx && !c.worthAMX() {
					continue
				}
				c.check(t, c.run(t, p))
				cases--
			}
		})
	}
}

// Sums are as exact as F32 lets them be, also where they are not made of F32
// products: the error is that of rounding the partial sums.
func TestGemmAccuracy(t *testing.T) {
	const m, n, k = 128, 128, 1000
	r := rand.New(rand.NewPCG(9, 10))
	c := gemmCase{values: randomFloats(r, k*n)}
	c.gemmArgs = gemmArgs{m: m, n: n, k: k, a: randomFloats(r, m*k), lda: k, b: operand{f32: c.values}, ldb: n, c: make([]float32, m*n), ldc: n, alpha: 1}
	for _, kind := range gemmKinds() {
		got := c.run(t, gemmPool(t, 1, kind))
		var squares float64
		for i := range m {
			for j := range n {
				want, _ := c.want(i, j)
				squares += math.Pow(float64(got[i*n+j])-want, 2)
			}
		}
		// The products have variance 1, so sums have k.
		err := math.Sqrt(squares/(m*n)) / math.Sqrt(k)
		t.Logf("%v: relative error %.2g", kind, err)
		if err > 4e-7 {
			t.Errorf("%v: relative error %.2g", kind, err)
		}
	}
}

// The same bytes for every number of threads, and for some rows or columns computed
// by themselves.
func TestGemmBytesDependOnOperandsAlone(t *testing.T) {
	same := func(t *testing.T, c *gemmCase, what string, x, y float32) {
		t.Helper()
		if math.Float32bits(x) != math.Float32bits(y) {
			t.Fatalf("%v: %s: %v, not %v", c, what, y, x)
		}
	}
	for _, kind := range gemmKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			var pools []*pool
			for threads := 1; threads <= 3; threads++ {
				pools = append(pools, gemmPool(t, threads, kind))
			}
			for _, s := range [][3]int{{129, 200, 300}, {16, 768, 257}, {300, 16, 300}, {1030, 97, 64}, {5, 1000, 513}, {700, 49, 16}, {100, 400, 20}} {
				for range 2 {
					c := randomCase(r, s[0], s[1], s[2])
					got := c.run(t, pools[0])
					for _, p := range pools[1:] {
						for i, x := range c.run(t, p) {
							same(t, c, fmt.Sprint(p.threads, " threads"), got[i], x)
						}
					}
					for _, part := range [][4]int{ // first row, rows, first column, columns
						{r.IntN(c.m), 1, 0, c.n}, {0, c.m, r.IntN(c.n), 1}, {1, c.m - 1, 0, c.n}, {0, c.m - 3, 1, c.n - 1},
					} {
						d := c.part(part[0], part[1], part[2], part[3])
						if kind.amx && d.worthAMX() != c.worthAMX() {
							continue
						}
						x := d.run(t, pools[1])
						for i := range d.m {
							for j := range d.n {
								same(t, c, fmt.Sprint("the part ", part), got[(part[0]+i)*c.ldc+part[2]+j], x[i*c.ldc+j])
							}
						}
					}
				}
			}
		})
	}
}

// part is the product for some rows and columns of C alone.
func (c *gemmCase) part(i, m, j, n int) *gemmCase {
	d := *c
	d.m, d.n = m, n
	if c.transA {
		d.a = c.a[i:]
	} else {
		d.a = c.a[i*c.lda:]
	}
	if c.transB {
		d.off += j * c.ldb
	} else {
		d.off += j
	}
	d.c = c.c[i*c.ldc+j:]
	if c.bias != nil {
		d.bias = c.bias[j:]
	}
	return &d
}

func TestGemmAllocatesNothing(t *testing.T) {
	p := gemmPool(t, 2, gemmKind{level: machineLevel()})
	r := rand.New(rand.NewPCG(5, 6))
	for _, trans := range []bool{false, true} {
		c := randomCase(r, 300, 200, 100)
		c.b, c.off, c.ldb, c.transB = operand{f32: randomFloats(r, 200*100)}, 0, 200, false
		c.a, c.lda, c.transA = randomFloats(r, 300*100), 100, trans
		if trans {
			c.lda, c.bias = 300, nil
		}
		if n := testing.AllocsPerRun(20, func() { p.gemm(c.gemmArgs) }); n > 0 {
			t.Errorf("a product, A transposed %v, allocates %v times", trans, n)
		}
	}
}

func TestGemmRefusesWhatDoesNotFit(t *testing.T) {
	p := gemmPool(t, 1, gemmKind{})
	x := make([]float32, 12)
	good := gemmArgs{m: 3, n: 4, k: 2, a: x, lda: 2, b: operand{f32: x}, ldb: 4, c: x, ldc: 4, alpha: 1}
	for name, spoil := range map[string]func(*gemmArgs){
		"short A":    func(g *gemmArgs) { g.a = x[:5] },
		"short B":    func(g *gemmArgs) { g.off = 5 },
		"short C":    func(g *gemmArgs) { g.c = x[:11] },
		"short bias": func(g *gemmArgs) { g.bias = x[:3] },
		"lda < k":    func(g *gemmArgs) { g.lda = 1 },
		"negative":   func(g *gemmArgs) { g.k = -1 },
		"short NF4":  func(g *gemmArgs) { g.b = operand{nf4: make([]byte, 3), absmax: x} },
		"no scales":  func(g *gemmArgs) { g.b = operand{nf4: make([]byte, 4)} },
	} {
		g := good
		spoil(&g)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			p.gemm(g)
		}()
	}
}

func FuzzGemm(f *testing.F) {
	f.Add(uint64(1), uint16(5), uint16(50), uint16(300))
	f.Add(uint64(2), uint16(150), uint16(170), uint16(530))
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k uint16) {
		r := rand.New(rand.NewPCG(seed, 0))
		c := randomCase(r, int(m%200), int(n%200), int(k%600))
		for _, kind := range gemmKinds() {
			c.check(t, c.run(t, gemmPool(t, 1+int(seed%3), kind)))
		}
	})
}
