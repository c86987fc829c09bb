package merge

import (
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// A base that bitsandbytes stored in 4 bits is merged into what its adapter was trained over:
// the widened weights, in the type that they had before. Quantised again they would lose what
// the adapter changes.

// wide is a weight that the files hold in 4 bits, and how it stands in the merged model.
type wide struct {
	stored     *nf4.Stored
	rows, cols int
	conv1D     bool // it was transposed before it was quantised: [cols,rows] in the merged model
}

// findWide finds the weights in 4 bits, which [model.CheckFiles] has checked, and what lies
// beside them in the files.
func (g *merger) findWide() error {
	for _, l := range g.spec.Targets() {
		t, ok := g.spec.Tensor(g.files, l.Path+".weight")
		if !ok || !nf4.IsStored(g.files.Tensor, t.Name) {
			continue
		}
		s, err := nf4.Open(g.files.Tensor, t, l.Out, l.In)
		if err != nil {
			return err
		}
		g.wide[t.Name] = wide{s, l.Out, l.In, l.Conv1D}
	}
	return nil
}

// besideWide reports whether a tensor describes a weight in 4 bits.
func (g *merger) besideWide(name string) bool {
	for i := range name {
		if _, ok := g.wide[name[:i]]; ok && name[i] == '.' {
			return true
		}
	}
	return false
}

// size is how many bytes of weights a tensor of the merged model has.
func (g *merger) size(name string) int64 {
	if w, ok := g.wide[name]; ok {
		return int64(w.rows) * int64(w.cols) * int64(w.stored.Before().Size())
	}
	return int64(len(g.source(name).Data))
}

// widened is a weight in 4 bits as the merged model has it, and its values.
func (w wide) widened(name string) (safetensors.Tensor, []float32, error) {
	q, err := w.stored.Read()
	if err != nil {
		return safetensors.Tensor{}, nil, err
	}
	t := safetensors.Tensor{Name: name, DType: w.stored.Before(), Shape: []int{w.rows, w.cols}}
	v := make([]float32, q.N)
	if !w.conv1D {
		for i := range v {
			v[i] = q.At(i)
		}
		return t, v, nil
	}
	t.Shape = []int{w.cols, w.rows}
	for i := range v {
		v[i%w.cols*w.rows+i/w.cols] = q.At(i)
	}
	return t, v, nil
}
