package model

import (
	"errors"
	"fmt"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// Option changes how Load puts weights on a device.
type Option func(*loader)

// InNF4, if on, quantises the weight of every linear layer in the blocks the way
// bitsandbytes does with double quantisation. Embeddings, norms, the output
// head and GPT-2's Conv1D layers stay as they are.
func InNF4(on bool) Option { return func(l *loader) { l.inNF4 = on } }

// Load puts a checkpoint's weights on a device. Linear weights and embeddings, also
// those that bitsandbytes stored in NF4, keep the file's type and, if the device
// allows, its memory: files must stay open until the weights are closed. A device of
// 16-bit activations gets them rounded to those, as each product would read them.
// Norms and biases are widened to F32.
//
// maxLen is the longest row that will be run and bounds the RoPE tables; 0 means the
// model's own limit. Models without learned positions may go beyond that.
//
// A tensor that is missing, has an unexpected shape or an unsupported type is an error
// that names it.
func Load(dev kernels.Device, spec *Spec, files *safetensors.Model, maxLen int, options ...Option) (*Weights, error) {
	if err := CheckTied(spec, files); err != nil {
		return nil, err
	}
	if maxLen == 0 || maxLen > spec.Positions && spec.PositionEmbed != "" {
		maxLen = spec.Positions
	}
	w := &Weights{Spec: spec, dev: dev, maxLen: maxLen, tables: map[string]*rotation{}}
	l := &loader{w: w, source: func(want tensor) (found, error) { return find(spec, files, want) }}
	for _, o := range options {
		o(l)
	}
	return l.load()
}

// load makes the weights from the loader's source.
func (l *loader) load() (*Weights, error) {
	w, spec := l.w, l.w.Spec
	put := l.matrix
	if !spec.TiedHead {
		put = l.table
	}
	w.embed = put(spec.Embed, spec.Vocab, spec.Hidden)
	w.head = linearWeights{Linear: spec.Head, weight: w.embed, index: l.next()}
	if !spec.TiedHead {
		w.head.weight = l.matrix(spec.Head.Path+".weight", spec.Vocab, spec.Hidden)
	}
	if w.head.weight.Buf != nil && w.head.weight.Buf.DType() != kernels.NF4 {
		w.headBelow = below(w.dev, spec.Vocab)
	}
	if spec.Head.Bias {
		w.head.bias = l.vector(spec.Head.Path+".bias", spec.Vocab)
	}
	if spec.PositionEmbed != "" {
		w.positions = l.matrix(spec.PositionEmbed, spec.Positions+spec.PositionShift, spec.Hidden)
	}
	for i := range spec.Layers {
		w.layers = append(w.layers, l.layer(&spec.Layers[i]))
	}
	w.finalNorm = l.norm(spec.FinalNorm, spec.Hidden)
	if l.err != nil {
		w.Close()
		return nil, l.err
	}
	return w, nil
}

// loader keeps the first error.
type loader struct {
	w      *Weights
	source func(want tensor) (found, error)
	inNF4  bool
	err    error
}

func (l *loader) find(want tensor) (found, bool) {
	if l.err != nil {
		return found{}, false
	}
	t, err := l.source(want)
	l.err = err
	return t, err == nil
}

func (l *loader) own(b kernels.Buffer, err error) kernels.Buffer {
	if err != nil {
		l.err = err
		return nil
	}
	l.w.owned = append(l.w.owned, b)
	return b
}

// matrix uploads a matrix.
func (l *loader) matrix(name string, rows, cols int) kernels.Mat {
	t, ok := l.find(tensor{name: name, shape: []int{rows, cols}})
	if !ok {
		return kernels.Mat{}
	}
	dev := l.w.dev
	if t.nf4 != nil || dev.Activations() == kernels.F32 || t.dtype() == dev.Activations() && below(dev, rows) == 0 {
		return kernels.Matrix(l.upload(t), rows, cols)
	}
	m := kernels.Matrix(l.own(dev.Alloc(dev.Activations(), (rows+below(dev, rows))*cols)), rows, cols)
	l.round(m, t)
	return m
}

// table puts a matrix that few rows are read of in the host's memory, for devices with memory of their own; in
// that if the host has too little.
func (l *loader) table(name string, rows, cols int) kernels.Mat {
	dev := l.w.dev
	host, ok := dev.(kernels.HostMemory)
	t, found := l.find(tensor{name: name, shape: []int{rows, cols}})
	if !ok || !found || t.nf4 != nil {
		return l.matrix(name, rows, cols)
	}
	of := dev.Activations()
	if of == kernels.F32 {
		of = t.dtype()
	}
	b, err := host.AllocHost(of, rows*cols)
	if errors.Is(err, kernels.ErrMemory) {
		l.w.hostRefused = true
		return l.matrix(name, rows, cols)
	}
	m := kernels.Matrix(l.own(b, err), rows, cols)
	l.round(m, t)
	return m
}

// below is how many rows of zeros lie below a matrix of rows outputs, for devices of
// 16 bits, whose vectors are of 8 elements.
func below(dev kernels.Device, rows int) int {
	if dev.Activations() == kernels.F32 {
		return 0
	}
	return -rows & 7
}

// roundedBytes is how much of a matrix is on its way to being rounded.
const roundedBytes = 64 << 20

// round puts a tensor into a matrix of activations.
func (l *loader) round(m kernels.Mat, t found) {
	data, from := t.Data, t.dtype()
	if t.DType == safetensors.F64 && l.err == nil && t.outline == nil {
		var v []float32
		if v, l.err = t.Float32(); l.err == nil {
			data = safetensors.FromFloat32("", t.Shape, v).Data
		}
	}
	most := max(1, roundedBytes/from.Bytes(m.Cols))
	for at := 0; at < m.Rows && l.err == nil && t.outline == nil; at += most {
		n := min(most, m.Rows-at)
		part, err := l.w.dev.Upload(from, data[from.Bytes(at*m.Cols):from.Bytes((at+n)*m.Cols)])
		if err != nil {
			l.err = err
			return
		}
		l.w.dev.Copy(m.RowRange(at, n), kernels.Matrix(part, n, m.Cols))
		l.w.dev.Free(part)
	}
}

func (l *loader) upload(t found) kernels.Buffer {
	if t.outline != nil {
		return l.own(t.outline())
	}
	if t.nf4 != nil {
		q, err := t.nf4.Read()
		if err != nil {
			l.err = err
			return nil
		}
		return l.own(l.w.dev.UploadQuantized(q))
	}
	switch t.DType {
	case safetensors.F32:
		return l.own(l.w.dev.Upload(kernels.F32, t.Data))
	case safetensors.F16:
		return l.own(l.w.dev.Upload(kernels.F16, t.Data))
	case safetensors.BF16:
		return l.own(l.w.dev.Upload(kernels.BF16, t.Data))
	}
	return l.widened(t.Tensor)
}

// quantized uploads a matrix in NF4.
func (l *loader) quantized(t found) kernels.Buffer {
	if t.outline != nil {
		n := 1
		for _, size := range t.Shape {
			n *= size
		}
		return l.own(l.w.dev.UploadQuantized(kernels.Quantized{N: n}))
	}
	m, err := nf4.Quantize(t.Tensor)
	if err != nil {
		l.err = err
		return nil
	}
	return l.own(l.w.dev.UploadQuantized(m.Quantized()))
}

func (l *loader) widened(t safetensors.Tensor) kernels.Buffer {
	v, err := t.Float32()
	if err != nil {
		l.err = err
		return nil
	}
	return l.floats(v)
}

func (l *loader) floats(v []float32) kernels.Buffer {
	b := l.own(l.w.dev.Alloc(kernels.F32, len(v)))
	if b != nil {
		l.w.dev.WriteF32(b, v)
	}
	return b
}

func (l *loader) vector(name string, n int) kernels.Buffer {
	t, ok := l.find(tensor{name: name, shape: []int{n}})
	switch {
	case !ok:
		return nil
	case t.outline != nil:
		return l.own(t.outline())
	}
	return l.widened(t.Tensor)
}

func (l *loader) norm(n *Norm, width int) (w normWeights) {
	if n == nil {
		return w
	}
	w.spec = n
	if n.Weight != "" {
		w.weight = l.vector(n.Weight, width)
	}
	if n.Bias != "" {
		w.bias = l.vector(n.Bias, width)
	}
	return w
}

// linears puts the weights of layers that read one input on the device: joined in one
// matrix with room for their adapters if they may be and the device wants it so, or
// else each by itself.
func (l *loader) linears(join bool, xs ...Linear) []linearWeights {
	out, tensors := make([]linearWeights, len(xs)), make([]found, len(xs))
	join = join && l.w.dev.Spare() > 0
	quantised := 0
	for i, x := range xs {
		out[i] = linearWeights{Linear: x, index: l.next()}
		t, ok := l.find(x.weight())
		if !ok {
			return out
		}
		tensors[i] = t
		if t.nf4 != nil || l.inNF4 && !x.Conv1D {
			quantised++
		}
		join = join && !(x.Conv1D && len(xs) > 1)
		if x.Bias {
			out[i].bias = l.vector(x.Path+".bias", x.Out)
		}
	}
	switch {
	case join && quantised == 0:
		l.join(out, tensors)
		return out
	case join && quantised == len(xs): // joined as they are read
		for i := range out {
			out[i].room = l.w.dev.Spare()
		}
	}
	for i := range out {
		w, t := &out[i], tensors[i]
		conv := w.Conv1D
		w.Conv1D = conv && t.nf4 == nil
		put := l.upload
		if l.inNF4 && !conv && t.nf4 == nil {
			put = l.quantized
		}
		shape := w.Linear.weight().shape
		w.weight = kernels.Matrix(put(t), shape[0], shape[1])
	}
	return out
}

// join puts weights one below the other, as activations.
func (l *loader) join(layers []linearWeights, tensors []found) {
	dev := l.w.dev
	room, rows, cols := dev.Spare(), 0, 0
	for i := range layers {
		shape := layers[i].Linear.weight().shape
		rows, cols = rows+shape[0], shape[1]
	}
	all := kernels.Mat{Buf: l.own(dev.Alloc(dev.Activations(), (rows+room)*(cols+room))), Rows: rows, Cols: cols, Stride: cols + room}
	at := 0
	for i := range layers {
		w := &layers[i]
		n := w.Linear.weight().shape[0]
		w.weight, w.room = all.RowRange(at, n), room
		at += n
		l.round(w.weight, tensors[i])
	}
}

// next returns the number of the next linear module.
func (l *loader) next() int {
	l.w.linears++
	return l.w.linears - 1
}

func (l *loader) layer(spec *Layer) layerWeights {
	hidden, a := l.w.Spec.Hidden, &spec.Attn
	w := layerWeights{
		Layer:   spec,
		preAttn: l.norm(spec.PreAttn, hidden), postAttn: l.norm(spec.PostAttn, hidden),
		preMLP: l.norm(spec.PreMLP, hidden), postMLP: l.norm(spec.PostMLP, hidden),
		qNorm: l.norm(a.QNorm, a.normWidth(a.Q)), kNorm: l.norm(a.KNorm, a.normWidth(a.K)),
		rope: l.rotation(a.RoPE),
	}
	w.proj = l.linears(a.QNorm == nil && a.KNorm == nil, a.Proj...) // norms take rows apart into heads
	w.out = l.linears(true, a.Out)[0]
	w.mlp, w.down = l.linears(true, spec.MLP.Proj...), l.linears(true, spec.MLP.Down)[0]
	return w
}

// rotation returns a RoPE's tables, made once for all layers that share it.
func (l *loader) rotation(r *RoPE) *rotation {
	if r == nil {
		return nil
	}
	key := fmt.Sprintf("%+v", *r)
	if t := l.w.tables[key]; t != nil {
		return t
	}
	n := l.w.maxLen
	t := &rotation{spec: r, hasTwoSets: r.long(n)}
	set := func(tokens int) [2]kernels.Buffer {
		cos, sin := r.Tables(n, tokens)
		return [2]kernels.Buffer{l.floats(cos), l.floats(sin)}
	}
	t.short = set(1)
	if t.hasTwoSets {
		t.long = set(n)
	}
	l.w.tables[key] = t
	return t
}
