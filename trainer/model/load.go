package model

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// Option changes how Load puts weights on a device.
type Option func(*loader)

// InNF4, where it is on, quantises the weight of every linear layer of the blocks,
// as bitsandbytes does with double quantisation. Embeddings, norms, the output
// head and GPT-2's Conv1D layers stay as they are.
func InNF4(on bool) Option { return func(l *loader) { l.inNF4 = on } }

// Load puts a checkpoint's weights on a device. Linear weights and embeddings
// keep the file's type and, where the device allows, its memory: files stays open
// until the weights are closed. That goes for what bitsandbytes stored in NF4 too.
// Norms and biases are widened to F32.
//
// maxLen is the longest row that will be run, so that no more positions than that
// are tabulated; 0 is the model's own limit. More than that works for models
// without learned positions.
//
// A tensor that is missing, has another shape than config.json says, or a type
// that can't be computed with is an error that names it.
func Load(dev kernels.Device, spec *Spec, files *safetensors.Model, maxLen int, options ...Option) (*Weights, error) {
	if err := checkTied(spec, files); err != nil {
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
	w.embed = l.matrix(spec.Embed, spec.Vocab, spec.Hidden)
	w.head = linearWeights{Linear: spec.Head, weight: w.embed, index: l.next()}
	if !spec.TiedHead {
		w.head.weight = l.matrix(spec.Head.Path+".weight", spec.Vocab, spec.Hidden)
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

// checkTied refuses a checkpoint that holds an output head beside the embedding it
// is said to be tied to, and another than that: Transformers doesn't tie them then.
func checkTied(spec *Spec, files *safetensors.Model) error {
	if !spec.TiedHead {
		return nil
	}
	head, there := spec.Tensor(files, spec.Head.Path+".weight")
	embed, ok := spec.Tensor(files, spec.Embed)
	if !there || !ok || bytes.Equal(head.Data, embed.Data) {
		return nil
	}
	return scu.Errorf(scu.CodeInvalid, "config.json: tie_word_embeddings is true, but tensors %s and %s differ", embed.Name, head.Name).
		WithHint("set tie_word_embeddings to false where the head is a weight of its own; remove the tensor where it is not")
}

// CheckFiles makes the checks of Load from the files' headers and the descriptions
// of quantised weights: nothing of the weights is read.
func CheckFiles(spec *Spec, files *safetensors.Model) error {
	for _, t := range spec.tensors() {
		if _, err := find(spec, files, t); err != nil {
			return err
		}
	}
	return nil
}

// tensor is a weight that a model needs.
type tensor struct {
	name   string
	shape  []int
	conv1D bool // shape is [In, Out]
}

// tensors lists the weights that the spec reads.
func (s *Spec) tensors() []tensor {
	var out []tensor
	add := func(name string, shape ...int) {
		if name != "" {
			out = append(out, tensor{name: name, shape: shape})
		}
	}
	norm := func(n *Norm, width int) {
		if n != nil {
			add(n.Weight, width)
			add(n.Bias, width)
		}
	}
	linear := func(l Linear) {
		out = append(out, l.weight())
		if l.Bias {
			add(l.Path+".bias", l.Out)
		}
	}
	add(s.Embed, s.Vocab, s.Hidden)
	if !s.TiedHead {
		add(s.Head.Path+".weight", s.Vocab, s.Hidden)
	}
	if s.Head.Bias {
		add(s.Head.Path+".bias", s.Vocab)
	}
	add(s.PositionEmbed, s.Positions+s.PositionShift, s.Hidden)
	for i := range s.Layers {
		l := &s.Layers[i]
		for _, n := range []*Norm{l.PreAttn, l.PostAttn, l.PreMLP, l.PostMLP} {
			norm(n, s.Hidden)
		}
		norm(l.Attn.QNorm, l.Attn.normWidth(l.Attn.Q))
		norm(l.Attn.KNorm, l.Attn.normWidth(l.Attn.K))
		for _, x := range slices.Concat(l.Attn.Proj, l.MLP.Proj, []Linear{l.Attn.Out, l.MLP.Down}) {
			linear(x)
		}
	}
	norm(s.FinalNorm, s.Hidden)
	return out
}

// Parameters is the number of weights that the model computes with.
func (s *Spec) Parameters() (n int64) {
	for _, t := range s.tensors() {
		p := int64(1)
		for _, d := range t.shape {
			p *= int64(d)
		}
		n += p
	}
	return n
}

func (l Linear) weight() tensor {
	t := tensor{name: l.Path + ".weight", shape: []int{l.Out, l.In}, conv1D: l.Conv1D}
	if l.Conv1D {
		t.shape = []int{l.In, l.Out}
	}
	return t
}

// normWidth is the width of a norm over queries or keys.
func (a *Attention) normWidth(v View) int {
	if a.WholeNorm {
		return v.N * a.HeadDim
	}
	return a.HeadDim
}

// found is a tensor of the files, checked.
type found struct {
	safetensors.Tensor
	nf4 *nf4.Stored // not nil where bitsandbytes quantised it

	outline func() (kernels.Buffer, error) // where there are no files, see Outline
}

// Tensor looks a tensor of the model up in its files, under its name or another
// that Prefixes gives it.
func (s *Spec) Tensor(files *safetensors.Model, name string) (safetensors.Tensor, bool) {
	t, ok := files.Tensor(name)
	for _, p := range s.Prefixes {
		if rest, has := strings.CutPrefix(name, p.Full); !ok && has {
			t, ok = files.Tensor(p.Stored + rest)
		}
	}
	return t, ok
}

// find looks a tensor up and checks its shape and type.
func find(spec *Spec, files *safetensors.Model, want tensor) (found, error) {
	t, ok := spec.Tensor(files, want.name)
	if !ok {
		return found{}, scu.Errorf(scu.CodeInvalid, "the checkpoint has no tensor %s", want.name).
			WithHint("config.json says model_type %s; do the weights belong to it?", spec.Family)
	}
	if len(want.shape) == 2 && nf4.IsStored(files.Tensor, t.Name) {
		rows, cols := want.shape[0], want.shape[1]
		if want.conv1D { // Transformers turns it around before it is quantised
			rows, cols = cols, rows
		}
		q, err := nf4.Open(files.Tensor, t, rows, cols)
		return found{Tensor: t, nf4: q}, err
	}
	if !slices.Equal(t.Shape, want.shape) {
		return found{}, scu.Errorf(scu.CodeInvalid, "tensor %s has shape %v; config.json says %v", t.Name, t.Shape, want.shape)
	}
	switch t.DType {
	case safetensors.F32, safetensors.F16, safetensors.BF16, safetensors.F64:
		return found{Tensor: t}, nil
	}
	return found{}, scu.Errorf(scu.CodeUnsupported, "tensor %s has type %s; F32, F16, BF16 and F64 are supported", t.Name, t.DType)
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

// matrix uploads a matrix in the file's own type.
func (l *loader) matrix(name string, rows, cols int) kernels.Mat {
	t, ok := l.find(tensor{name: name, shape: []int{rows, cols}})
	if !ok {
		return kernels.Mat{}
	}
	return kernels.Matrix(l.upload(t), rows, cols)
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

func (l *loader) linear(x Linear) linearWeights {
	w := linearWeights{Linear: x, index: l.next()}
	if t, ok := l.find(x.weight()); ok {
		w.Conv1D = x.Conv1D && t.nf4 == nil
		put := l.upload
		if l.inNF4 && !x.Conv1D && t.nf4 == nil {
			put = l.quantized
		}
		shape := w.Linear.weight().shape
		w.weight = kernels.Matrix(put(t), shape[0], shape[1])
	}
	if x.Bias {
		w.bias = l.vector(x.Path+".bias", x.Out)
	}
	return w
}

// next numbers a linear module.
func (l *loader) next() int {
	l.w.linears++
	return l.w.linears - 1
}

func (l *loader) linears(xs []Linear) []linearWeights {
	out := make([]linearWeights, len(xs))
	for i, x := range xs {
		out[i] = l.linear(x)
	}
	return out
}

func (l *loader) layer(spec *Layer) layerWeights {
	hidden, a := l.w.Spec.Hidden, &spec.Attn
	return layerWeights{
		Layer:   spec,
		preAttn: l.norm(spec.PreAttn, hidden), postAttn: l.norm(spec.PostAttn, hidden),
		preMLP: l.norm(spec.PreMLP, hidden), postMLP: l.norm(spec.PostMLP, hidden),
		qNorm: l.norm(a.QNorm, a.normWidth(a.Q)), kNorm: l.norm(a.KNorm, a.normWidth(a.K)),
		proj: l.linears(a.Proj), out: l.linear(a.Out),
		mlp: l.linears(spec.MLP.Proj), down: l.linear(spec.MLP.Down),
		rope: l.rotation(a.RoPE),
	}
}

// rotation makes a RoPE's tables once for all layers that share it.
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
