package estimate

import (
	"math/rand/v2"
	"sync"

	"github.com/shannon-control/scu/kernels"
)

// operands makes the buffers that one operation is timed on, with small random
// numbers in them. It keeps the first error; after it, buffers are placeholders.
type operands struct {
	dev   kernels.Device
	owned []kernels.Buffer
	bytes int64
	err   error
}

func (o *operands) free() {
	for _, b := range o.owned {
		o.dev.Free(b)
	}
}

// own keeps a buffer; n is its length.
func (o *operands) own(t kernels.DType, n int, make func() (kernels.Buffer, error)) kernels.Buffer {
	if o.err != nil {
		return noted{t, n}
	}
	b, err := make()
	if err != nil {
		o.err = err
		return noted{t, n}
	}
	o.owned = append(o.owned, b)
	o.bytes += int64(t.Bytes(n))
	return b
}

// zeros are n elements of a type.
func (o *operands) zeros(t kernels.DType, n int) kernels.Buffer {
	return o.own(t, n, func() (kernels.Buffer, error) { return o.dev.Alloc(t, n) })
}

// flat are n numbers.
func (o *operands) flat(n int) kernels.Buffer {
	b := o.zeros(kernels.F32, n)
	for at := 0; at < n && o.err == nil; at += len(numbers()) {
		part := min(len(numbers()), n-at)
		o.dev.WriteF32(b.Slice(at, part), numbers()[:part])
	}
	return b
}

// scalars is an F64 buffer of values, and number one value.
func (o *operands) scalars(values ...float64) kernels.Buffer {
	b := o.zeros(kernels.F64, len(values))
	if o.err == nil {
		o.dev.WriteF64(b, values)
	}
	return b
}

func (o *operands) number(value float64) kernels.Scalar {
	return kernels.Scalar{Buf: o.scalars(value)}
}

// mask is a dropout mask under some key.
func (o *operands) mask(p float32) kernels.Mask {
	return kernels.Mask{P: p, Key: kernels.Scalar{Buf: o.zeros(kernels.U64, 1)}}
}

// mat is a matrix of activations, master a matrix of LoRA's weights.
func (o *operands) mat(rows, cols int) kernels.Mat {
	return o.weight(o.dev.Activations(), rows, cols, false)
}

func (o *operands) master(rows, cols int) kernels.Mat {
	return o.weight(kernels.F32, rows, cols, false)
}

// weight is a rows x cols matrix of a type, stored transposed if
// asked for.
func (o *operands) weight(t kernels.DType, rows, cols int, transposed bool) kernels.Mat {
	if transposed {
		rows, cols = cols, rows
	}
	n := rows * cols
	switch t {
	case kernels.F32:
		return kernels.Matrix(o.flat(n), rows, cols)
	case kernels.NF4:
		return kernels.Matrix(o.own(t, n, func() (kernels.Buffer, error) {
			q := kernels.Quantized{N: n, Packed: make([]byte, t.Bytes(n)), Absmax: make([]float32, (n+kernels.NF4Block-1)/kernels.NF4Block)}
			for i := range q.Packed {
				q.Packed[i] = byte(i * 37)
			}
			for i := range q.Absmax {
				q.Absmax[i] = 0.1
			}
			return o.dev.UploadQuantized(q)
		}), rows, cols)
	}
	b, from := o.zeros(t, n), o.flat(min(n, len(numbers())))
	for at := 0; at < n && o.err == nil; at += from.Len() {
		part := min(from.Len(), n-at)
		o.dev.Copy(kernels.Mat{Buf: b, Off: at, Rows: 1, Cols: part, Stride: part}, kernels.Matrix(from, 1, part))
	}
	return kernels.Matrix(b, rows, cols)
}

// ids are n token ids below a bound.
func (o *operands) ids(n, below int) kernels.Buffer {
	b := o.zeros(kernels.I32, n)
	if o.err == nil {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(i * 7919 % below)
		}
		o.dev.WriteI32(b, ids)
	}
	return b
}

// norm is p over a rows x cols matrix, without Dst.
func (o *operands) norm(p kernels.Norm, rows, cols int) kernels.Norm {
	p.X, p.Rstd = o.mat(rows, cols), o.flat(rows)
	for _, v := range []*kernels.Buffer{&p.Weight, &p.Bias} {
		if *v != nil {
			*v = o.flat(cols)
		}
	}
	if p.Mean != nil {
		p.Mean = o.flat(rows)
	}
	return p
}

// numbers are what buffers are filled with, again and again.
var numbers = sync.OnceValue(func() []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 1<<14)
	for i := range x {
		x[i] = float32(r.NormFloat64()) * 0.1
	}
	return x
})
