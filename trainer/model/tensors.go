package model

import "slices"

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

// Parameters returns the number of weights the model computes with.
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
