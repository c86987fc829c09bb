package model

import (
	"bytes"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// CheckTied refuses a checkpoint whose output head is said to be tied to the embedding
// but is stored too, and differs from it: Transformers doesn't tie them then. Files
// without data are taken.
func CheckTied(spec *Spec, files *safetensors.Model) error {
	if !spec.TiedHead {
		return nil
	}
	head, there := spec.Tensor(files, spec.Head.Path+".weight")
	embed, ok := spec.Tensor(files, spec.Embed)
	if !there || !ok || bytes.Equal(head.Data, embed.Data) {
		return nil
	}
	return scu.Errorf(scu.CodeInvalid, "config.json: tie_word_embeddings is true, but tensors %s and %s differ", embed.Name, head.Name).
		WithHint("set tie_word_embeddings to false if the head is a weight of its own; otherwise remove the tensor")
}

// CheckFiles makes Load's checks from the files' headers and the descriptions of
// quantised weights alone, without reading any weight.
func CheckFiles(spec *Spec, files *safetensors.Model) error {
	for _, t := range spec.tensors() {
		if _, err := find(spec, files, t); err != nil {
			return err
		}
	}
	return nil
}

// found is a tensor that was found and checked.
type found struct {
	safetensors.Tensor
	nf4 *nf4.Stored // set if bitsandbytes quantised it

	outline func() (kernels.Buffer, error) // set if there are no files, see Outline
}

// dtype is the type that upload puts a tensor on a device with.
func (f found) dtype() kernels.DType {
	switch {
	case f.nf4 != nil:
		return kernels.NF4
	case f.DType == safetensors.F16:
		return kernels.F16
	case f.DType == safetensors.BF16:
		return kernels.BF16
	}
	return kernels.F32
}

// Tensor looks up a tensor of the model in its files, under its own name or one that
// Prefixes gives.
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
		if want.conv1D { // Transformers transposes it before quantising
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
