package model

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/shannon-control/scu/kernels"
)

// NonFinite is where a NaN or an infinity first arose in a pass.
type NonFinite struct {
	Where  string  // "block model.layers.3", "the embedding" or "the output head"
	Back   bool    // in the backward pass: all of the forward pass is finite
	Tensor string  // of the base, there, that holds Value; "" if none does
	Module string  // with an adapter whose weights hold Value; "" if none do
	Value  float32 // NaN or an infinity; 0 if neither holds any
}

// FindNonFinite runs b as LossGrad does with this key and scale, and looks at what
// comes out of the embedding, of each block and of the head, and then at the
// gradients in the opposite order. The first that isn't finite is told; nil if all
// is. Without gradScale's buffer it looks at the forward pass alone, as Loss runs it.
// It waits for the device at every block: it is for a step that has failed.
func (d *Decoder) FindNonFinite(ctx context.Context, w *Workspace, b Batch, key uint64, gradScale kernels.Scalar) (*NonFinite, error) {
	if err := d.Stage(w, []Batch{b}, []uint64{key}); err != nil {
		return nil, err
	}
	p, err := d.begin(w, 0)
	if err != nil {
		return nil, err
	}
	training := gradScale.Buf != nil
	if training {
		p.dropout, p.goesBack = kernels.Mask{P: d.adapter.Dropout, Key: p.in.key}, true
	}
	var found *NonFinite
	back := false
	p.probe = func(stage int, m kernels.Mat) error {
		v, err := d.nonFinite(m)
		if err == nil && v == 0 && back {
			v, err = d.nonFiniteModule(stage, d.adapter.Grad, nil)
		}
		if err != nil || v == 0 {
			return err
		}
		if found, err = d.origin(stage, back); err == nil {
			err = errFound
		}
		return err
	}
	x, err := p.forward(ctx)
	if err == nil {
		p.loss(x)
		err = p.look(len(d.layers), kernels.Matrix(w.Losses, 1, p.rows))
	}
	if back = true; err == nil && training {
		err = p.backward(ctx, x, gradScale)
	}
	err = w.settle(err)
	if errors.Is(err, errFound) {
		err = nil
	}
	return found, err
}

// errFound ends a pass that has shown what it was run for.
var errFound = errors.New("found")

// look shows what came out of a stage (-1: the embedding, len(layers): the head) to
// who looks for something.
func (p *pass) look(stage int, m kernels.Mat) error {
	if p.probe == nil {
		return nil
	}
	return p.probe(stage, m)
}

// origin tells of a stage whose output isn't finite, while its input was.
func (d *Decoder) origin(stage int, back bool) (*NonFinite, error) {
	o := &NonFinite{Where: d.stageName(stage), Back: back}
	var err error
	for _, t := range d.stageTensors(stage) {
		if o.Value, err = d.nonFinite(t.mat); err != nil || o.Value != 0 {
			o.Tensor = t.name
			return o, err
		}
	}
	if d.adapter != nil {
		o.Value, err = d.nonFiniteModule(stage, d.adapter.Param, &o.Module)
	}
	return o, err
}

func (d *Decoder) stageName(stage int) string {
	switch stage {
	case -1:
		return "the embedding"
	case len(d.layers):
		return "the output head"
	}
	path := d.layers[stage].out.Path
	for other := d.layers[stage].down.Path; path != "" && !strings.HasPrefix(other, path+"."); {
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return "block " + path
}

// named is a tensor of the base on the device.
type named struct {
	name string
	mat  kernels.Mat
}

// stageTensors are the base's own tensors that a stage reads.
func (d *Decoder) stageTensors(stage int) (out []named) {
	add := func(name string, m kernels.Mat) {
		if m.Buf != nil {
			out = append(out, named{name, m})
		}
	}
	vector := func(name string, b kernels.Buffer) {
		if b != nil {
			add(name, kernels.Matrix(b, 1, b.Len()))
		}
	}
	norm := func(n normWeights) {
		if n.spec != nil {
			vector(n.spec.Weight, n.weight)
			vector(n.spec.Bias, n.bias)
		}
	}
	switch stage {
	case -1:
		add(d.Spec.Embed, d.embed)
		add(d.Spec.PositionEmbed, d.positions)
		return out
	case len(d.layers):
		norm(d.finalNorm)
		if d.Spec.TiedHead {
			add(d.Spec.Embed, d.embed)
		} else {
			add(d.head.Path+".weight", d.head.weight)
		}
		vector(d.head.Path+".bias", d.head.bias)
		return out
	}
	l := &d.layers[stage]
	for _, n := range []normWeights{l.preAttn, l.qNorm, l.kNorm, l.postAttn, l.preMLP, l.postMLP} {
		norm(n)
	}
	for _, x := range l.linears() {
		add(x.Path+".weight", x.weight)
		vector(x.Path+".bias", x.bias)
	}
	return out
}

// nonFiniteModule is nonFinite of the adapter's weights in a stage, or of their
// gradients, whichever buf holds, and path receives the module's.
func (d *Decoder) nonFiniteModule(stage int, buf kernels.Buffer, path *string) (v float32, err error) {
	linears := []*linearWeights{}
	switch {
	case stage == len(d.layers):
		linears = append(linears, &d.head)
	case stage >= 0:
		linears = d.layers[stage].linears()
	}
	for _, l := range linears {
		i := d.module(l)
		if i < 0 {
			continue
		}
		for _, m := range []kernels.Mat{d.adapter.A(buf, i), d.adapter.B(buf, i)} {
			if v, err = d.nonFinite(m); err != nil || v != 0 {
				if path != nil {
					*path = l.Path
				}
				return v, err
			}
		}
	}
	return 0, nil
}

// probeElements bounds what is read of a matrix at once.
const probeElements = 1 << 20

// nonFinite is the first NaN or infinity of a matrix of any type, 0 if there is none
// or no matrix.
func (d *Decoder) nonFinite(m kernels.Mat) (float32, error) {
	if m.Buf == nil {
		return 0, nil
	}
	rows := min(m.Rows, max(1, probeElements/m.Cols))
	buf, err := d.dev.Alloc(kernels.F32, rows*m.Cols)
	if err != nil {
		return 0, err
	}
	defer d.dev.Free(buf)
	host := make([]float32, rows*m.Cols)
	for at := 0; at < m.Rows; at += rows {
		n := min(rows, m.Rows-at)
		d.dev.Copy(kernels.Matrix(buf, n, m.Cols), m.RowRange(at, n))
		if err := d.dev.ReadF32(host[:n*m.Cols], buf.Slice(0, n*m.Cols)); err != nil {
			return 0, err
		}
		for _, x := range host[:n*m.Cols] {
			if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
				return x, nil
			}
		}
	}
	return 0, nil
}
