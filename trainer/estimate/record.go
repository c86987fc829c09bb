package estimate

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/shannon-control/scu/kernels"
)

// recorder is a Device that does nothing. It counts memory, and notes of each
// operation what decides how long it takes. It stands for another device, which it
// asks what that would need.
type recorder struct {
	of          kernels.Device         // nil: none is there, and only memory is counted
	scratchOf   func(ops ...any) int64 // what that device, or one that isn't there, needs beside buffers
	activations kernels.DType          // of activations
	bytes       int64                  // of buffers
	host        int64                  // of buffers in the host's memory beside the device's
	calls       map[string]*call
	ops         map[string]any // those that may need scratch memory, one of a shape
}

// call is all operations of one shape. Large shapes are noted as a smaller one
// that takes the same time a unit of work.
type call struct {
	units float64 // how many times the work that prepare's function does
	// prepare allocates operands of the (smaller) shape and returns the operation.
	prepare func(o *operands) func()
}

func newRecorder(of kernels.Device) *recorder {
	return &recorder{of: of, scratchOf: of.Scratch, activations: of.Activations(), calls: map[string]*call{}, ops: map[string]any{}}
}

// newPlanner makes a recorder that counts memory for a device that isn't there, and
// needs so much beside buffers; with nil no operation may be asked of it.
func newPlanner(activations kernels.DType, scratch func(ops ...any) int64) *recorder {
	return &recorder{activations: activations, scratchOf: scratch, calls: map[string]*call{}, ops: map[string]any{}}
}

// scratch is what the operations so far leave allocated on the device.
func (r *recorder) scratch() int64 {
	return r.scratchOf(slices.Collect(maps.Values(r.ops))...)
}

// note adds an operation. key names everything that prepare depends on.
func (r *recorder) note(units float64, prepare func(o *operands) func(), key string, args ...any) {
	key = fmt.Sprintf(key, args...)
	if r.calls[key] == nil {
		r.calls[key] = &call{prepare: prepare}
	}
	r.calls[key].units += units
}

// take returns what was noted since the last time.
func (r *recorder) take() map[string]*call {
	calls := r.calls
	r.calls = map[string]*call{}
	return calls
}

// Most work of what is timed: a few milliseconds each.
const (
	mostProducts = 1 << 28 // multiply-adds of a matrix product
	mostElements = 1 << 20 // elements of flat work
)

// halved halves the largest of the sizes, none below least, until their product is
// at most most.
func halved(most float64, least int, sizes ...*int) {
	for {
		product, largest := 1.0, sizes[0]
		for _, s := range sizes {
			product *= float64(*s)
			if *s > *largest {
				largest = s
			}
		}
		if product <= most || *largest/2 < least {
			return
		}
		*largest /= 2
	}
}

func (r *recorder) MatMul(p kernels.MatMul) {
	m, n, k := p.Sizes(r.Name())
	work := float64(m) * float64(n) * float64(k)
	halved(mostProducts, 128, &m, &n, &k)
	weight, to, bias := p.B.Buf.DType(), p.Dst.Buf.DType(), p.Bias != nil
	r.note(work/(float64(m)*float64(n)*float64(k)), func(o *operands) func() {
		q := kernels.MatMul{Dst: o.weight(to, m, n, false), TransA: p.TransA, TransB: p.TransB, Alpha: p.Alpha, Beta: p.Beta}
		q.A, q.B = o.weight(o.dev.Activations(), m, k, p.TransA), o.weight(weight, k, n, p.TransB)
		if bias {
			q.Bias = o.flat(n)
		}
		return func() { o.dev.MatMul(q) }
	}, "product %d %d %d %v %v %v %v %v %v", m, n, k, p.TransA, p.TransB, weight, to, p.Beta != 0, bias)
}

// Linear and LinearGrad are noted as the products that they are made of, whose sizes
// scale one by one.

func (r *recorder) Linear(p kernels.Linear) {
	r.ops[fmt.Sprint("linear ", p.X.Rows, p.X.Cols, len(p.Parts), p.Mask.P)] = p
	adapted := false
	for _, l := range p.Parts {
		r.MatMul(kernels.MatMul{Dst: l.Dst, A: p.X, B: l.W, TransB: !l.Conv1D, Alpha: 1, Bias: l.Bias})
		if l.LoRA.A.Buf != nil {
			adapted = true
			r.MatMul(kernels.MatMul{Dst: l.LoRA.U, A: p.X, B: l.LoRA.A, TransB: true, Alpha: 1})
			r.MatMul(kernels.MatMul{Dst: l.Dst, A: l.LoRA.U, B: l.LoRA.B, TransB: true, Alpha: l.LoRA.Scale, Beta: 1})
		}
		if l.Residual.Buf != nil {
			r.Add(l.Dst, l.Residual, l.Dst)
		}
	}
	if adapted {
		r.mask(p.X, p.Mask, false)
	}
}

func (r *recorder) LinearGrad(p kernels.LinearGrad) {
	p.Again(r)
	rank := 0
	for _, l := range p.Parts {
		if p.DX.Buf != nil {
			r.MatMul(kernels.MatMul{Dst: p.DX, A: l.DY, B: l.W, TransB: l.Conv1D, Alpha: 1, Beta: 1})
		}
		if l.LoRA.A.Buf != nil {
			rank += l.LoRA.A.Rows
			r.MatMul(kernels.MatMul{Dst: l.DB, A: l.DY, B: l.LoRA.U, TransA: true, Alpha: 1, Beta: 1})
			r.MatMul(kernels.MatMul{Dst: l.LoRA.U, A: l.DY, B: l.LoRA.B, Alpha: 1})
			r.lowRankGrad(p.X, p.DX, l.LoRA, l.DA)
		}
	}
	r.ops[fmt.Sprint("linear's gradient ", p.X.Rows, p.X.Cols, rank, p.Mask.P)] = p
	if rank > 0 {
		r.mask(p.X, p.Mask, false)
		r.mask(p.DX, p.Mask, true)
	}
}

// lowRankGrad is DA += DU^T X and DX += DU A.
func (r *recorder) lowRankGrad(x, dx kernels.Mat, l kernels.LoRA, da kernels.Mat) {
	r.MatMul(kernels.MatMul{Dst: da, A: l.U, B: x, TransA: true, Alpha: 1, Beta: 1})
	if dx.Buf != nil {
		r.MatMul(kernels.MatMul{Dst: dx, A: l.U, B: l.A, Alpha: 1, Beta: 1})
	}
}

// mask notes dropout on a matrix, if there are both.
func (r *recorder) mask(x kernels.Mat, m kernels.Mask, add bool) {
	if x.Buf != nil && m.P > 0 {
		r.Dropout(kernels.Dropout{Dst: x, Src: x, Mask: m, Add: add})
	}
}

func (r *recorder) LinearCrossEntropy(p kernels.LinearCrossEntropy) {
	rows, vocab, hidden := p.X.Rows, p.Head.Rows, p.X.Cols
	r.ops[fmt.Sprint("loss ", rows, vocab, hidden, p.LoRA.A.Rows)] = p
	work := float64(rows) * float64(vocab)
	m, n := r.logitsRows(rows, vocab), vocab
	for n > 1024 && float64(m)*float64(n)*float64(hidden) > mostProducts {
		n /= 2
	}
	weight, bias, grad, rank, drop := p.Head.Buf.DType(), p.Bias != nil, p.DX.Buf != nil, p.LoRA.A.Rows, p.Mask.P
	r.note(work/(float64(m)*float64(n)), func(o *operands) func() {
		q := kernels.LinearCrossEntropy{X: o.mat(m, hidden), Head: o.weight(weight, hidden, n, true), Targets: o.ids(m, n), Losses: o.flat(m),
			GradScale: o.number(1e-3), Softcap: p.Softcap}
		if bias {
			q.Bias = o.flat(n)
		}
		if grad {
			q.DX = o.mat(m, hidden)
		}
		if rank > 0 {
			q.LoRA = kernels.LoRA{A: o.master(rank, hidden), B: o.master(n, rank), U: o.mat(m, rank), Scale: 1e-3}
			q.DA, q.DB, q.Mask = o.master(rank, hidden), o.master(n, rank), o.mask(drop)
		}
		return func() { o.dev.LinearCrossEntropy(q) }
	}, "loss %d %d %d %v %v %v %v %d %v", m, n, hidden, weight, bias, grad, p.Softcap > 0, rank, drop > 0)
}

// logitsRows is how many rows the device takes together: its scratch memory holds
// their logits.
func (r *recorder) logitsRows(rows, vocab int) int {
	noted := func(rows, cols int) kernels.Mat { return kernels.Mat{Rows: rows, Cols: cols} }
	bytes := r.scratchOf(kernels.LinearCrossEntropy{X: noted(rows, 1), Head: noted(vocab, 1)}) - r.scratchOf()
	return max(1, min(rows, int(bytes/int64(r.activations.Bytes(vocab)))))
}

// attended is how many keys all queries see.
func attended(length, window int) float64 {
	n := float64(length)
	if w := float64(window); window > 0 && w < n {
		return w*(w+1)/2 + (n-w)*w
	}
	return n * (n + 1) / 2
}

func (r *recorder) Attention(p kernels.Attention) {
	r.ops[attentionKey(p)] = p
	r.attention(p, false)
}

func (r *recorder) AttentionGrad(p kernels.AttentionGrad) {
	r.ops[attentionKey(p.Attention)+", gradient"] = p
	r.attention(p.Attention, true)
	p.RotateBack(r)
}

func attentionKey(p kernels.Attention) string {
	return fmt.Sprint("attention ", p.Batch, p.QueryLen, p.KeyLen, p.Q.N, p.K.N, p.K.Dim)
}

func (r *recorder) attention(p kernels.Attention, grad bool) {
	batch, keys, length, group, dim := p.Batch, p.K.N, p.QueryLen, p.Q.N/p.K.N, p.Q.Dim
	work := func() float64 {
		return float64(batch) * float64(keys) * float64(group) * float64(dim) * attended(length, p.Window)
	}
	whole := work()
	for work() > mostProducts/2 {
		switch {
		case batch > 1:
			batch = (batch + 1) / 2
		case keys > 2:
			keys = (keys + 1) / 2
		case group > 1:
			group = (group + 1) / 2
		default:
			length /= 2
		}
	}
	r.note(whole/work(), func(o *operands) func() {
		rows := batch * length
		heads := func(n int) kernels.Heads { return kernels.HeadsOf(o.mat(rows, n*dim), dim) }
		a := kernels.Attention{Batch: batch, QueryLen: length, KeyLen: length, Q: heads(keys * group), K: heads(keys), V: heads(keys),
			Out: heads(keys * group), LSE: o.flat(rows * keys * group), Scale: p.Scale, Softcap: p.Softcap, Window: p.Window}
		if !grad {
			return func() { o.dev.Attention(a) }
		}
		g := kernels.AttentionGrad{Attention: a, DOut: heads(keys * group), DQ: heads(keys * group), DK: heads(keys), DV: heads(keys)}
		return func() { o.dev.AttentionGrad(g) }
	}, "attention %d %d %d %d %d %d %v %v", batch, keys, group, length, dim, p.Window, p.Softcap > 0, grad)
}

// rows notes work of the same kind on every row of a matrix.
func (r *recorder) rows(rows, cols int, prepare func(o *operands, rows int) func(), key string, args ...any) {
	m := max(1, min(rows, mostElements/cols))
	r.note(float64(rows)/float64(m), func(o *operands) func() { return prepare(o, m) }, "%d x %d %s", m, cols, fmt.Sprintf(key, args...))
}

func (r *recorder) Norm(p kernels.Norm) {
	cols := p.X.Cols
	r.rows(p.X.Rows, cols, func(o *operands, m int) func() {
		n := o.norm(p, m, cols)
		n.Dst = o.mat(m, cols)
		return func() { o.dev.Norm(n) }
	}, "norm %v %v", p.LayerNorm, p.Weight != nil)
}

func (r *recorder) AddNorm(p kernels.AddNorm) {
	cols := p.X.Cols
	r.rows(p.X.Rows, cols, func(o *operands, m int) func() {
		n := kernels.AddNorm{Norm: o.norm(p.Norm, m, cols), A: o.mat(m, cols), B: o.mat(m, cols)}
		n.Dst = o.mat(m, cols)
		return func() { o.dev.AddNorm(n) }
	}, "norm of a sum %v %v", p.LayerNorm, p.Weight != nil)
}

func (r *recorder) NormGrad(p kernels.NormGrad) {
	cols := p.X.Cols
	r.rows(p.X.Rows, cols, func(o *operands, m int) func() {
		n := o.norm(p.Norm, m, cols)
		g := kernels.NormGrad{Norm: n, DX: o.mat(m, cols), DY: o.mat(m, cols), Accumulate: p.Accumulate}
		return func() { o.dev.NormGrad(g) }
	}, "norm's gradient %v %v %v", p.LayerNorm, p.Weight != nil, p.Accumulate)
}

func (r *recorder) RoPE(p kernels.RoPE) {
	cols := p.X.N * p.X.Dim
	r.rows(p.Rows, cols, func(o *operands, m int) func() {
		q := p
		q.X, q.Rows, q.Len, q.Start, q.Positions = kernels.HeadsOf(o.mat(m, cols), p.X.Dim), m, min(m, p.Len), 0, nil
		q.Cos, q.Sin = o.flat(q.Len*p.Half), o.flat(q.Len*p.Half)
		return func() { o.dev.RoPE(q) }
	}, "rotation %d %d %v", p.X.Dim, p.Half, p.Inverse)
}

func (r *recorder) Activate(act kernels.Activation, dst, x kernels.Mat) {
	r.rows(x.Rows, x.Cols, func(o *operands, m int) func() {
		a, b := o.mat(m, x.Cols), o.mat(m, x.Cols)
		return func() { o.dev.Activate(act, a, b) }
	}, "activation %d", act)
}

func (r *recorder) ActivateGrad(act kernels.Activation, dx, x, dy kernels.Mat) {
	r.rows(x.Rows, x.Cols, func(o *operands, m int) func() {
		a, b, c := o.mat(m, x.Cols), o.mat(m, x.Cols), o.mat(m, x.Cols)
		return func() { o.dev.ActivateGrad(act, a, b, c) }
	}, "activation's gradient %d", act)
}

func (r *recorder) Gate(act kernels.Activation, dst, gate, up kernels.Mat) {
	r.rows(gate.Rows, gate.Cols, func(o *operands, m int) func() {
		a, b, c := o.mat(m, gate.Cols), o.mat(m, gate.Cols), o.mat(m, gate.Cols)
		return func() { o.dev.Gate(act, a, b, c) }
	}, "gate %d", act)
}

func (r *recorder) GateGrad(act kernels.Activation, dgate, dup, gate, up, dy kernels.Mat) {
	r.rows(gate.Rows, gate.Cols, func(o *operands, m int) func() {
		a, b, c, d, e := o.mat(m, gate.Cols), o.mat(m, gate.Cols), o.mat(m, gate.Cols), o.mat(m, gate.Cols), o.mat(m, gate.Cols)
		return func() { o.dev.GateGrad(act, a, b, c, d, e) }
	}, "gate's gradient %d", act)
}

// Feed-forward layers are noted as what they are composed of, which a device may do at once.

func (r *recorder) ActivatedLinear(p kernels.ActivatedLinear) {
	r.ops[fmt.Sprint("activated linear ", p.X.Rows, p.X.Cols, p.Mask.P)] = p
	p.Compose(r)
}

func (r *recorder) ActivatedLinearGrad(p kernels.ActivatedLinearGrad) {
	r.ops[fmt.Sprint("activated linear's gradient ", p.Down.X.Rows, p.Down.X.Cols, p.In.X.Cols, p.In.Mask.P)] = p
	p.Compose(r)
}

func (r *recorder) Dropout(p kernels.Dropout) {
	cols := p.Src.Cols
	r.rows(p.Src.Rows, cols, func(o *operands, m int) func() {
		q := kernels.Dropout{Dst: o.mat(m, cols), Src: o.mat(m, cols), Mask: o.mask(p.Mask.P), Add: p.Add}
		return func() { o.dev.Dropout(q) }
	}, "dropout %v", p.Add)
}

func (r *recorder) Add(dst, a, b kernels.Mat) {
	r.rows(dst.Rows, dst.Cols, func(o *operands, m int) func() {
		x, y, z := o.mat(m, dst.Cols), o.mat(m, dst.Cols), o.mat(m, dst.Cols)
		return func() { o.dev.Add(x, y, z) }
	}, "sum of two")
}

func (r *recorder) Copy(dst, src kernels.Mat) {
	r.rows(dst.Rows, dst.Cols, func(o *operands, m int) func() {
		x, y := o.mat(m, dst.Cols), o.mat(m, dst.Cols)
		return func() { o.dev.Copy(x, y) }
	}, "copy")
}

func (r *recorder) Embed(p kernels.Embed) {
	const tokens = 256 // of the table that is read from
	weight, cols := p.Table.Buf.DType(), p.Dst.Cols
	r.rows(p.Dst.Rows, cols, func(o *operands, m int) func() {
		q := kernels.Embed{Dst: o.mat(m, cols), Table: o.weight(weight, tokens, cols, false), IDs: o.ids(m, tokens), Scale: p.Scale, Add: p.Add}
		return func() { o.dev.Embed(q) }
	}, "embedding %v %v", weight, p.Add)
}

// flat notes work on n elements of flat buffers.
func (r *recorder) flat(n int, key string, prepare func(o *operands, n int) func()) {
	m := max(1, min(n, mostElements))
	r.note(float64(n)/float64(m), func(o *operands) func() { return prepare(o, m) }, "%d %s", m, key)
}

func (r *recorder) Zero(b kernels.Buffer) {
	r.flat(b.Len(), "zero", func(o *operands, n int) func() {
		x := o.flat(n)
		return func() { o.dev.Zero(x) }
	})
}

func (r *recorder) Axpy(y kernels.Buffer, _ kernels.Scalar, x kernels.Buffer) {
	r.flat(y.Len(), "axpy", func(o *operands, n int) func() {
		a, b, alpha := o.flat(n), o.flat(n), o.number(1e-3)
		return func() { o.dev.Axpy(a, alpha, b) }
	})
}

func (r *recorder) Sum(_ kernels.Scalar, src kernels.Buffer, add bool) {
	r.flat(src.Len(), "sum", func(o *operands, n int) func() {
		x, s := o.flat(n), o.number(0)
		return func() { o.dev.Sum(s, x, add) }
	})
}

func (r *recorder) SumSquares(_ kernels.Scalar, src kernels.Buffer) {
	r.flat(src.Len(), "sum of squares", func(o *operands, n int) func() {
		x, s := o.flat(n), o.number(0)
		return func() { o.dev.SumSquares(s, x) }
	})
}

func (r *recorder) AdamW(p kernels.AdamW) {
	r.flat(p.Param.Len(), "adamw", func(o *operands, n int) func() {
		q := p
		q.Param, q.Grad, q.M, q.V, q.NormSquared = o.flat(n), o.flat(n), o.flat(n), o.zeros(kernels.F32, n), o.number(1)
		q.Rates = o.scalars(1e-4, 0.5, 0.5)
		return func() { o.dev.AdamW(q) }
	})
}

// noted is a buffer of a recorder: a type and a length.
type noted struct {
	dtype kernels.DType
	n     int
}

func (b noted) DType() kernels.DType            { return b.dtype }
func (b noted) Len() int                        { return b.n }
func (b noted) Slice(off, n int) kernels.Buffer { return noted{b.dtype, n} }

// besideHost is a recorder that stands for a device with memory of its own.
type besideHost struct {
	*recorder
	refuses bool // the host has none to spare; for what a workspace puts aside that changes nothing on the device
}

// notedInHost is a buffer in the host's memory.
type notedInHost struct{ noted }

// size is what it counts for; a step's sums, some F64 numbers, are no figure that a user plans with.
func (b notedInHost) size() int64 {
	if b.dtype == kernels.F64 {
		return 0
	}
	return int64(b.dtype.Bytes(b.n))
}

func (r besideHost) AllocHost(t kernels.DType, n int) (kernels.Buffer, error) {
	if r.refuses {
		return nil, kernels.ErrMemory
	}
	b := notedInHost{noted{t, n}}
	r.host += b.size()
	return b, nil
}

// Copies take no time of their own.
func (besideHost) CopyBeside(dst, src kernels.Buffer)                  {}
func (besideHost) Join(kernels.Buffer)                                 {}
func (besideHost) ReadBeside(dst []float64, host kernels.Buffer) error { clear(dst); return nil }

func (r *recorder) Name() string                   { return "recorder" }
func (r *recorder) Activations() kernels.DType     { return r.activations }
func (r *recorder) Available() (free, total int64) { return r.of.Available() }
func (r *recorder) Scratch(ops ...any) int64       { return r.scratchOf(ops...) }

// Repeat notes what f does, every time.
func (r *recorder) Repeat(_ string, f func() error) error { return f() }

// Spare is the most that there is where only memory is counted.
func (r *recorder) Spare() int {
	switch {
	case r.of != nil:
		return r.of.Spare()
	case r.activations != kernels.F32:
		return kernels.MostSpare
	}
	return 0
}

func (r *recorder) Alloc(t kernels.DType, n int) (kernels.Buffer, error) {
	r.bytes += int64(t.Bytes(n))
	return noted{t, n}, nil
}

func (r *recorder) Upload(t kernels.DType, data []byte) (kernels.Buffer, error) {
	return noted{t, len(data) / t.Bytes(1)}, nil
}

func (r *recorder) UploadQuantized(q kernels.Quantized) (kernels.Buffer, error) {
	r.bytes += int64(kernels.NF4.Bytes(q.N)) + int64(kernels.F32.Bytes(q.N/kernels.NF4Block))
	return noted{kernels.NF4, q.N}, nil
}

func (r *recorder) Free(b kernels.Buffer) {
	if inHost, ok := b.(notedInHost); ok {
		r.host -= inHost.size()
		return
	}
	r.bytes -= int64(b.DType().Bytes(b.Len()))
}

func (r *recorder) Allocated() (now, peak int64)                  { return r.bytes, math.MaxInt64 }
func (r *recorder) WriteF32(kernels.Buffer, []float32)            {}
func (r *recorder) WriteF64(kernels.Buffer, []float64)            {}
func (r *recorder) WriteU64(kernels.Buffer, []uint64)             {}
func (r *recorder) WriteI32(kernels.Buffer, []int32)              {}
func (r *recorder) ReadF32(dst []float32, _ kernels.Buffer) error { clear(dst); return nil }
func (r *recorder) ReadF64(dst []float64, _ kernels.Buffer) error { clear(dst); return nil }
func (r *recorder) Sync() error                                   { return nil }
func (r *recorder) Close() error                                  { return nil }
