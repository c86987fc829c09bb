package gguf

import (
	"fmt"
	"slices"

	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/model"
)

// layout is how a model is laid out in GGUF.
type layout struct {
	spec   *model.Spec
	family family
	params []param
}

// param is a parameter of a checkpoint and what becomes of it.
type param struct {
	path       string // in the checkpoint
	name       string // in GGUF
	rows       []int  // row i is the checkpoint's row rows[i]; nil: in the same order
	transposed bool   // the checkpoint has it [In, Out]
	add        float32
	wide       bool // F32 whatever type the others get
}

// layoutOf reads a model folder's. A model that llama.cpp doesn't compute as it is
// computed here is refused.
func layoutOf(dir string) (*layout, error) {
	spec, err := model.ReadSpec(dir)
	if err != nil {
		return nil, base.Within("base_model", err)
	}
	f, ok := families[spec.Family]
	if !ok {
		return nil, unsupported("the family %s", spec.Family)
	}
	if err := f.computes(spec); err != nil {
		return nil, err
	}
	l := &layout{spec: spec, family: f}
	l.lay()
	return l, nil
}

// lay lists the parameters. The names are llama.cpp's for what a tensor does, so that they
// follow from its place in the spec.
func (l *layout) lay() {
	s := l.spec
	l.params = []param{{path: s.Embed, name: "token_embd.weight"}}
	if s.PositionEmbed != "" {
		l.params = append(l.params, param{path: s.PositionEmbed, name: "position_embd.weight", wide: true})
	}
	for i := range s.Layers {
		layer, block := &s.Layers[i], fmt.Sprintf("blk.%d.", i)
		a, m := &layer.Attn, &layer.MLP
		l.norm(layer.PreAttn, block+"attn_norm")
		l.norm(layer.PostAttn, block+"post_attention_norm")
		l.norm(layer.PreMLP, block+"ffn_norm")
		l.norm(layer.PostMLP, block+"post_ffw_norm")
		l.norm(a.QNorm, block+"attn_q_norm")
		l.norm(a.KNorm, block+"attn_k_norm")
		names := []string{"attn_q", "attn_k", "attn_v"}
		if len(a.Proj) == 1 {
			names = []string{"attn_qkv"}
		}
		for k, p := range a.Proj {
			l.linear(p, block+names[k], l.heads(a, k))
		}
		l.linear(a.Out, block+"attn_output", nil)
		for k, p := range m.Proj {
			name := "ffn_up" // of both if they are packed
			if m.Gated && k == m.Gate && k != m.Up {
				name = "ffn_gate"
			}
			l.linear(p, block+name, nil)
		}
		l.linear(m.Down, block+"ffn_down", nil)
	}
	l.norm(s.FinalNorm, "output_norm")
	switch head := s.Head; {
	case !s.TiedHead:
		l.linear(head, "output", nil)
	case l.family.ownHead:
		l.params = append(l.params, param{path: s.Embed, name: "output.weight"})
	}
}

func (l *layout) norm(n *model.Norm, name string) {
	if n == nil {
		return
	}
	p := param{path: n.Weight, name: name + ".weight"}
	if n.UnitOffset {
		p.add = 1
	}
	l.params = append(l.params, p)
	if n.Bias != "" {
		l.params = append(l.params, param{path: n.Bias, name: name + ".bias"})
	}
}

func (l *layout) linear(x model.Linear, name string, rows []int) {
	l.params = append(l.params, param{path: x.Path + ".weight", name: name + ".weight", rows: rows, transposed: x.Conv1D})
	if x.Bias {
		l.params = append(l.params, param{path: x.Path + ".bias", name: name + ".bias", rows: rows})
	}
}

// heads is the order of the rows of a projection: all heads of queries, then of keys, then
// of values. Where llama.cpp rotates neighbours, pairs stand together instead of half a
// head apart. It is nil if the checkpoint has that order.
func (l *layout) heads(a *model.Attention, projection int) []int {
	var rows []int
	for kind, v := range []model.View{a.Q, a.K, a.V} {
		if v.Proj != projection {
			continue
		}
		for h := range v.N {
			for i := range a.HeadDim {
				if l.family.neighbours && kind < 2 {
					i = i%2*(a.HeadDim/2) + i/2
				}
				rows = append(rows, v.Off+h*v.Stride+i)
			}
		}
	}
	if slices.IsSorted(rows) {
		return nil
	}
	return rows
}

// param finds a parameter by its path.
func (l *layout) param(path string) (param, bool) {
	i := slices.IndexFunc(l.params, func(p param) bool { return p.path == path })
	if i < 0 {
		return param{}, false
	}
	return l.params[i], true
}

// shape is the parameter's in GGUF, by the checkpoint's.
func (p param) shape(stored []int) []int {
	if p.transposed {
		return []int{stored[1], stored[0]}
	}
	return stored
}

// kind is the parameter's type where matrices get the type to.
func (p param) kind(to Type, shape []int) Type {
	if p.wide || len(shape) == 1 {
		return F32
	}
	return to.orF16(shape)
}

// orF16 is the type, or F16 if a tensor of that shape can't have it.
func (t Type) orF16(shape []int) Type {
	if _, fits := t.size(shape); !fits {
		return F16
	}
	return t
}

// values are the elements as GGUF has them, of the checkpoint's. It may change w.
func (p param) values(w []float32, shape []int) []float32 {
	width := 1 // of a row of a vector
	if len(shape) == 2 {
		width = shape[1]
	}
	if p.transposed {
		w = transposed(w, shape[0], shape[1])
	}
	for i := range w {
		w[i] += p.add
	}
	return reordered(w, p.rows, width)
}

// transposed is [rows, cols] of [cols, rows].
func transposed(w []float32, rows, cols int) []float32 {
	out := make([]float32, len(w))
	for r := range rows {
		for c := range cols {
			out[r*cols+c] = w[c*rows+r]
		}
	}
	return out
}

// reordered is a matrix of rows of that width, whose row i is row order[i] of w; w if there
// is no order.
func reordered(w []float32, order []int, width int) []float32 {
	if order == nil {
		return w
	}
	out := make([]float32, 0, len(w))
	for _, from := range order {
		out = append(out, w[from*width:][:width]...)
	}
	return out
}
