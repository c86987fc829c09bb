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

func (b counted) DType() kernels.DType                { return b.t }
func (b counted) Len() int                            { return b.n }
func (b counted) Slice(off, n int) kernels.Buffer     { return counted{b.t, n} }
func (c *counter) Activations() kernels.DType         { return kernels.F32 }
func (c *counter) Free(kernels.Buffer)                {}
func (c *counter) WriteF32(kernels.Buffer, []float32) {}
func (c *counter) Alloc(t kernels.DType, n int) (kernels.Buffer, error) {
	c.bytes += int64(t.Bytes(n))
	return counted{t, n}, nil
}

// WorkspaceBytes is the memory that a workspace of the spec and the adapter's
// modules takes on a device with F32 activations: the same code as NewWorkspace,
// run without a device.
func WorkspaceBytes(spec *Spec, modules []lora.Module, dropout float64, o WorkspaceOptions) (int64, error) {
	c := &counter{}
	d, err := Outline(c, spec, 1, func(string) kernels.DType { return kernels.F32 })
	if err != nil {
		return 0, err
	}
	a, err := lora.New(c, modules, dropout)
	if err != nil {
		return 0, err
	}
	d.Attach(a)
	c.bytes = 0
	_, err = d.NewWorkspace(o)
	return c.bytes, err
}
