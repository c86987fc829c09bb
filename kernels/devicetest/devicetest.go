// Package devicetest is the suite that every kernels.Device passes, whatever its
// activations' type and wherever its memory: each operation against an independent
// float64 oracle, at sizes and layouts chosen to be awkward. Files are named after
// the operations, as in kernels.
//
// It promises to find: a wrong result (tolerances are stated at each check, for
// F32 activations a few units in the last place of the largest element, and for
// narrower ones two roundings of it more, or five in a chain of operations), a wrong gradient (the oracle's own
// gradients are checked against finite differences), a write outside the given matrix, a use of what the destination
// held before, an operation that spoils its inputs, and a result that depends on
// the number of threads (Identical).
package devicetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// cases are the operations' tests; each is in the file named after its subject.
var cases = []struct {
	name string
	run  func(*env)
}{
	{"Memory", memory},
	{"Panics", panics},
	{"Copy", copies},
	{"Add", add},
	{"Embed", embed},
	{"HostMemory", hostMemory},
	{"Dropout", dropout},
	{"Activations", activations},
	{"MatMul", matMul},
	{"Linear", linear},
	{"Gated", gated},
	{"Norm", norms},
	{"RoPE", rope},
	{"Attention", attention},
	{"LinearCrossEntropy", crossEntropy},
	{"Sums", sums},
	{"Axpy", axpy},
	{"AdamW", adamW},
	{"AdamW of a gradient that isn't finite", adamWSkips},
}

// Run tests the devices that newDevice makes, one for each operation.
func Run(t *testing.T, newDevice func() kernels.Device) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := newDevice()
			e := newEnv(t, d)
			c.run(e)
			e.close()
		})
	}
}

// Identical checks that all devices give the same bytes for everything that Run
// does: one device at several numbers of threads, or the same one twice.
func Identical(t *testing.T, newDevice ...func() kernels.Device) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var first *env
			for i, make := range newDevice {
				e := newEnv(t, make())
				e.recording = true
				c.run(e)
				e.close()
				if i == 0 {
					first = e
					continue
				}
				first.compare(e)
			}
		})
	}
}

// env is one device under test, with what was allocated on it.
type env struct {
	t   *testing.T
	d   kernels.Device
	rng *rand.Rand
	// unit is the rounding error of the device's activations where they are
	// narrower than F32, else 0.
	unit float64

	buffers []kernels.Buffer
	before  int64

	recording bool // collect results instead of checking them
	record    []result
}

type result struct {
	name   string
	values []float64
}

func newEnv(t *testing.T, d kernels.Device) *env {
	e := &env{t: t, d: d, rng: rand.New(rand.NewPCG(1, 2))}
	switch d.Activations() {
	case kernels.BF16:
		e.unit = 0x1p-9
	case kernels.F16:
		e.unit = 0x1p-12
	}
	e.before, _ = d.Allocated()
	return e
}

// close frees what is left and checks that the device has it back.
func (e *env) close() {
	e.free()
	if now, _ := e.d.Allocated(); now != e.before {
		e.t.Errorf("%d bytes are allocated after everything is freed, want %d", now, e.before)
	}
	if err := e.d.Close(); err != nil {
		e.t.Errorf("Close: %v", err)
	}
}

func (e *env) free() {
	for _, b := range e.buffers {
		e.d.Free(b)
	}
	e.buffers = nil
}

func (e *env) compare(other *env) {
	if len(e.record) != len(other.record) {
		e.t.Fatalf("%s gave %d results, %s %d", e.d.Name(), len(e.record), other.d.Name(), len(other.record))
	}
	for i, a := range e.record {
		b := other.record[i]
		for j, x := range a.values {
			if math.Float64bits(x) != math.Float64bits(b.values[j]) {
				e.t.Errorf("%s: element %d is %v on %s and %v on %s", a.name, j, x, e.d.Name(), b.values[j], other.d.Name())
				break
			}
		}
	}
}

// check compares results with the oracle's: the error may be tol times the
// oracle's largest element, and the rounding of narrow activations.
func (e *env) check(name string, got, want []float64, tol float64) {
	e.t.Helper()
	e.checkTerms(name, got, want, 0, tol)
}

// checkTerms is check for results that may be the small difference of large
// terms: the error may be tol times the largest element or term.
func (e *env) checkTerms(name string, got, want []float64, term, tol float64) {
	e.t.Helper()
	e.within(name, got, want, term, tol+2*e.unit)
}

// checkChain is checkTerms for operations made of several, each of which may round to
// activations what it hands on to the next: up to 1e-2 for BF16.
func (e *env) checkChain(name string, got, want []float64, term, tol float64) {
	e.t.Helper()
	e.within(name, got, want, term, tol+5*e.unit)
}

// checkF32 is checkTerms for F32 results, which have no share in the rounding of
// activations, and checkF64 for F64 results.
func (e *env) checkF32(name string, got, want []float64, term, tol float64) {
	e.t.Helper()
	e.within(name, got, want, term, tol)
}

func (e *env) checkF64(name string, got, want []float64, term, tol float64) {
	e.t.Helper()
	e.within(name, got, want, term, tol)
}

func (e *env) within(name string, got, want []float64, term, tol float64) {
	e.t.Helper()
	if e.recording {
		e.record = append(e.record, result{name, got})
		return
	}
	if len(got) != len(want) {
		e.t.Fatalf("%s: %d elements, want %d", name, len(got), len(want))
	}
	top := term
	for _, w := range want {
		top = max(top, math.Abs(w))
	}
	limit := tol * top
	worst, at := 0.0, -1
	for i, w := range want {
		if diff := math.Abs(got[i] - w); !(diff <= max(worst, limit)) {
			worst, at = diff, i
		}
	}
	if at >= 0 {
		e.t.Errorf("%s: element %d of %d is %v, want %v: off by %.2g of the largest (%.3g), allowed %.2g",
			name, at, len(want), got[at], want[at], worst/top, top, limit/top)
	}
}

// checkExact is check for results that have one right answer: the nearest
// activation.
func (e *env) checkExact(name string, got, want []float64) {
	e.t.Helper()
	e.equal(name, got, each(len(want), func(i int) float64 { return e.round(want[i]) }))
}

// checkExactF64 is checkExact for F64 results.
func (e *env) checkExactF64(name string, got, want []float64) {
	e.t.Helper()
	e.equal(name, got, want)
}

func (e *env) equal(name string, got, want []float64) {
	e.t.Helper()
	if e.recording {
		e.record = append(e.record, result{name, got})
		return
	}
	for i, w := range want {
		if got[i] != w {
			e.t.Errorf("%s: element %d of %d is %v, want exactly %v", name, i, len(want), got[i], w)
			return
		}
	}
}

// round is the nearest activation to x.
func (e *env) round(x float64) float64 { return roundTo(e.d.Activations(), x) }

func roundTo(t kernels.DType, x float64) float64 {
	switch t {
	case kernels.BF16:
		return float64(kernels.FromBF16(kernels.ToBF16(float32(x))))
	case kernels.F16:
		return float64(kernels.FromF16(kernels.ToF16(float32(x))))
	}
	return float64(float32(x))
}

// normal returns n normal values, as activations.
func (e *env) normal(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = e.round(e.rng.NormFloat64())
	}
	return x
}

// single32 returns n normal values that F32 holds and narrower types don't.
func (e *env) single32(n int) []float64 {
	return each(n, func(int) float64 { return float64(float32(e.rng.NormFloat64())) })
}

func (e *env) alloc(t kernels.DType, n int) kernels.Buffer {
	e.t.Helper()
	b, err := e.d.Alloc(t, n)
	if err != nil {
		e.t.Fatalf("Alloc(%v, %d): %v", t, n, err)
	}
	e.buffers = append(e.buffers, b)
	return b
}

// vector is a flat F32 buffer that holds x; its values are rounded in place.
func (e *env) vector(x []float64) kernels.Buffer {
	b := e.alloc(kernels.F32, len(x))
	e.d.WriteF32(b, single(x))
	for i, v := range x {
		x[i] = float64(float32(v))
	}
	return b
}

func (e *env) ints(x []int32) kernels.Buffer {
	b := e.alloc(kernels.I32, len(x))
	e.d.WriteI32(b, x)
	return b
}

// values reads a flat buffer of any float type.
func (e *env) values(b kernels.Buffer) []float64 {
	e.t.Helper()
	if b.DType() == kernels.F64 {
		x := make([]float64, b.Len())
		if err := e.d.ReadF64(x, b); err != nil {
			e.t.Fatalf("ReadF64: %v", err)
		}
		return x
	}
	if b.DType() != kernels.F32 { // Copy has its own test
		wide := e.alloc(kernels.F32, b.Len())
		e.d.Copy(kernels.Matrix(wide, 1, b.Len()), kernels.Matrix(b, 1, b.Len()))
		b = wide
	}
	x := make([]float32, b.Len())
	if err := e.d.ReadF32(x, b); err != nil {
		e.t.Fatalf("ReadF32: %v", err)
	}
	return double(x)
}

func single(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func double(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// layout is how a matrix lies in its buffer.
type layout struct {
	off, gap int // elements before it, and after each row
}

// layouts are dense, and off every alignment.
var layouts = []layout{{0, 0}, {3, 5}}

// matrix is a device matrix inside a larger buffer of noise, and its values.
type matrix struct {
	kernels.Mat
	x    []float64 // rows x cols, dense
	all  []float64 // the whole buffer
	name string
	free bool // what lies around it may be written
}

// matrix puts x on the device as activations in layout l.
func (e *env) matrix(name string, l layout, rows, cols int, x []float64) *matrix {
	return e.matrixOf(e.d.Activations(), name, l, rows, cols, x)
}

// matrixOf is matrix of a type, whose values x has.
func (e *env) matrixOf(t kernels.DType, name string, l layout, rows, cols int, x []float64) *matrix {
	m := &matrix{name: name, x: x, Mat: kernels.Mat{Off: l.off, Rows: rows, Cols: cols, Stride: cols + l.gap}}
	m.all = e.normal(l.off + rows*m.Stride + 19)
	for i := range rows {
		copy(m.all[m.Off+i*m.Stride:], x[i*cols:(i+1)*cols])
	}
	m.Buf = e.vector(m.all)
	if t != kernels.F32 {
		narrow := e.alloc(t, len(m.all))
		e.d.Copy(kernels.Matrix(narrow, 1, len(m.all)), kernels.Matrix(m.Buf, 1, len(m.all)))
		m.Buf = narrow
	}
	return m
}

// part is n columns of a matrix from column j on, and their values; what lies around them may be written.
func (m *matrix) part(j, n int) *matrix {
	p := &matrix{Mat: m.Columns(j, n), all: m.all, name: m.name, free: true}
	for i := range m.Rows {
		p.x = append(p.x, m.x[i*m.Cols+j:i*m.Cols+j+n]...)
	}
	return p
}

// dst is a matrix for results, full of NaN: what it held must not matter.
func (e *env) dst(name string, l layout, rows, cols int) *matrix {
	return e.dstOf(e.d.Activations(), name, l, rows, cols)
}

func (e *env) dstOf(t kernels.DType, name string, l layout, rows, cols int) *matrix {
	x := make([]float64, rows*cols)
	for i := range x {
		x[i] = math.NaN()
	}
	return e.matrixOf(t, name, l, rows, cols, x)
}

// read returns the matrix's values now, after checking that nothing around it
// was written.
func (m *matrix) read(e *env) []float64 {
	e.t.Helper()
	all := e.values(m.Buf)
	x := make([]float64, 0, m.Rows*m.Cols)
	for i, v := range all {
		r, c := (i-m.Off)/max(m.Stride, 1), (i-m.Off)%max(m.Stride, 1)
		if i >= m.Off && r < m.Rows && c < m.Cols {
			x = append(x, v)
		} else if v != m.all[i] && !m.free {
			e.t.Fatalf("%s: element %d, outside the %dx%d matrix at %d with stride %d, was overwritten: %v, was %v",
				m.name, i, m.Rows, m.Cols, m.Off, m.Stride, v, m.all[i])
		}
	}
	return x
}

// untouched checks that a matrix of NaN is one still.
func (e *env) untouched(name string, m *matrix) {
	e.t.Helper()
	for i, v := range m.read(e) {
		if v == v && v != m.x[i] {
			e.t.Errorf("%s: element %d was written: %v", name, i, v)
			return
		}
	}
}

// unchanged checks that inputs are as they were.
func (e *env) unchanged(inputs ...*matrix) {
	e.t.Helper()
	for _, m := range inputs {
		for i, v := range m.read(e) {
			if v != m.x[i] {
				e.t.Errorf("input %s was changed: element %d is %v, was %v", m.name, i, v, m.x[i])
				return
			}
		}
	}
}

// weightTypes are the types that frozen weights have.
var weightTypes = []kernels.DType{kernels.F32, kernels.BF16, kernels.F16, kernels.NF4}

// weights uploads a random rows x cols matrix of frozen weights, a part of a
// larger one, and returns its values.
func (e *env) weights(t kernels.DType, rows, cols int) (kernels.Mat, []float64) {
	e.t.Helper()
	// One row and one column more on each side than the part.
	stride := cols + 2
	n := (rows + 2) * stride
	all := make([]float64, n)
	var b kernels.Buffer
	var err error
	switch t {
	case kernels.NF4:
		q := kernels.Quantized{Packed: make([]byte, t.Bytes(n)), Absmax: make([]float32, (n+kernels.NF4Block-1)/kernels.NF4Block), N: n}
		for i := range q.Packed {
			q.Packed[i] = byte(e.rng.Uint32())
		}
		for i := range q.Absmax {
			q.Absmax[i] = float32(0.5 + e.rng.Float64())
		}
		for i := range all {
			all[i] = float64(q.At(i))
		}
		b, err = e.d.UploadQuantized(q)
	default:
		data := make([]byte, 0, t.Bytes(n))
		for i := range all {
			all[i] = roundTo(t, e.rng.NormFloat64())
			switch v := float32(all[i]); t {
			case kernels.BF16:
				data = le(data, uint32(kernels.ToBF16(v)), 2)
			case kernels.F16:
				data = le(data, uint32(kernels.ToF16(v)), 2)
			default:
				data = le(data, math.Float32bits(v), 4)
			}
		}
		b, err = e.d.Upload(t, data)
	}
	if err != nil {
		e.t.Fatalf("upload of %d elements of %v: %v", n, t, err)
	}
	e.buffers = append(e.buffers, b)
	m := kernels.Matrix(b, rows+2, stride).RowRange(1, rows).Columns(1, cols)
	x := make([]float64, rows*cols)
	for i := range rows {
		copy(x[i*cols:(i+1)*cols], all[(i+1)*stride+1:])
	}
	return m, x
}

// quantized is weights in NF4 that fill their buffer.
func (e *env) quantized(rows, cols int) (kernels.Mat, []float64) {
	e.t.Helper()
	n := rows * cols
	q := kernels.Quantized{Packed: make([]byte, kernels.NF4.Bytes(n)), Absmax: make([]float32, (n+kernels.NF4Block-1)/kernels.NF4Block), N: n}
	for i := range q.Packed {
		q.Packed[i] = byte(e.rng.Uint32())
	}
	for i := range q.Absmax {
		q.Absmax[i] = float32(0.5 + e.rng.Float64())
	}
	b, err := e.d.UploadQuantized(q)
	if err != nil {
		e.t.Fatalf("upload of %d elements of NF4: %v", n, err)
	}
	e.buffers = append(e.buffers, b)
	return kernels.Matrix(b, rows, cols), each(n, func(i int) float64 { return float64(q.At(i)) })
}

// le appends the lowest bytes of v, little-endian.
func le(data []byte, v uint32, bytes int) []byte {
	for range bytes {
		data = append(data, byte(v))
		v >>= 8
	}
	return data
}

// each calls f for every element of a rows x cols matrix and collects.
func each(n int, f func(i int) float64) []float64 {
	y := make([]float64, n)
	for i := range y {
		y[i] = f(i)
	}
	return y
}

// sizes are matrix shapes for what works element by element or row by row: one
// element, odd, either side of the vector widths, and enough for several threads.
var sizes = [][2]int{{1, 1}, {3, 7}, {5, 8}, {2, 17}, {4, 33}, {1, 1000}, {67, 192}, {130, 65}}

func shape(name string, size [2]int, l layout) string {
	return fmt.Sprintf("%s %dx%d at %d+%d", name, size[0], size[1], l.off, l.gap)
}
