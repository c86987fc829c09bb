package model

import (
	"scu/kernels"
	"scu/trainer/lora"
)

// counter is a Device that only counts what is allocated.
type counter struct {
	kernels.Device
	bytes int64
}

type counted struct {
	t kernels.DType
	n int
}

func (b counted) DType() kernels.DType            { return b.t }
func (b counted) Len() int                        { return b.n }
func (b counted) Slice(off, n int) kernels.Buffer { return counted{b.t, n} }
func (c *counter) Activations() kernels.DType     { return kernels.F32 }
func (c *counter) Free(kernels.Buffer)            {}
func (c *counter) Alloc(t kernels.DType, n int) (kernels.Buffer, error) {
	c.bytes += int64(t.Bytes(n))
	return counted{t, n}, nil
}

// WorkspaceBytes is the memory that a workspace of the spec and the adapter's
// modules takes on a device with F32 activations: the same code as NewWorkspace,
// run without a device.
func WorkspaceBytes(spec *Spec, modules []lora.Module, dropout float64, o WorkspaceOptions) (int64, error) {
	c := &counter{}
	d := &Decoder{Spec: spec, dev: c}
	if spec.PositionEmbed != "" {
		d.positions.Buf = counted{}
	}
	norm := func(n *Norm) normWeights { return normWeights{spec: n} }
	linears := func(xs []Linear) (out []linearWeights) {
		for _, x := range xs {
			out = append(out, linearWeights{Linear: x})
		}
		return out
	}
	for i := range spec.Layers {
		l := &spec.Layers[i]
		d.layers = append(d.layers, layerWeights{Layer: l,
			preAttn: norm(l.PreAttn), postAttn: norm(l.PostAttn), preMLP: norm(l.PreMLP), postMLP: norm(l.PostMLP),
			qNorm: norm(l.Attn.QNorm), kNorm: norm(l.Attn.KNorm),
			proj: linears(l.Attn.Proj), out: linearWeights{Linear: l.Attn.Out},
			mlp: linears(l.MLP.Proj), down: linearWeights{Linear: l.MLP.Down}})
	}
	d.finalNorm = norm(spec.FinalNorm)
	a, err := lora.New(c, modules, dropout)
	if err != nil {
		return 0, err
	}
	d.Attach(a)
	c.bytes = 0
	_, err = d.NewWorkspace(o)
	return c.bytes, err
}
