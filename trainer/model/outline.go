package model

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// Outline returns a model without weights, for devices that count work instead of doing
// it: dev allocates buffers of the right types and sizes, and nothing is written to the
// large ones. weight gives a matrix's type by its tensor's name; NF4 means that the
// checkpoint itself holds it in 4 bits.
func Outline(dev kernels.Device, spec *Spec, maxLen int, weight func(name string) kernels.DType, options ...Option) (*Weights, error) {
	w := &Weights{Spec: spec, dev: dev, maxLen: maxLen, tables: map[string]*rotation{}}
	source := func(want tensor) (found, error) {
		n := 1
		for _, size := range want.shape {
			n *= size
		}
		t := kernels.F32
		if len(want.shape) == 2 {
			t = weight(want.name)
		}
		if t == kernels.NF4 {
			return found{nf4: &nf4.Stored{}, outline: func() (kernels.Buffer, error) {
				return dev.UploadQuantized(kernels.Quantized{N: n})
			}}, nil
		}
		stored := map[kernels.DType]safetensors.DType{kernels.F32: safetensors.F32, kernels.BF16: safetensors.BF16, kernels.F16: safetensors.F16}[t]
		return found{Tensor: safetensors.Tensor{DType: stored, Shape: want.shape}, outline: func() (kernels.Buffer, error) { return dev.Alloc(t, n) }}, nil
	}
	l := &loader{w: w, source: source}
	for _, o := range options {
		o(l)
	}
	return l.load()
}

// Types gives the types, for Outline, that Load would put a checkpoint's matrices on a
// device with. files must have passed CheckFiles.
func Types(spec *Spec, files *safetensors.Model) func(name string) kernels.DType {
	types := map[string]kernels.DType{}
	for _, want := range spec.tensors() {
		if t, err := find(spec, files, want); err == nil {
			types[want.name] = t.dtype()
		}
	}
	return func(name string) kernels.DType { return types[name] } // F32 is 0
}
