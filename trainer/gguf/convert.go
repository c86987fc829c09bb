package gguf

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// Types are the element types that weights can have, by the names that people give.
var Types = map[string]Type{"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0}

// fileTypes are llama.cpp's numbers of files by the type of most of their weights.
var fileTypes = map[Type]uint32{F32: 0, F16: 1, Q8_0: 7, BF16: 32}

// Supported refuses a model of a family that this package doesn't write.
func Supported(dir string) error {
	_, err := layoutOf(dir)
	return err
}

// SupportedWhole refuses a model that Model can't write: of another family, or without a
// tokenizer that goes into the file.
func SupportedWhole(dir string) error {
	l, err := layoutOf(dir)
	if err != nil {
		return err
	}
	_, err = vocabulary(dir, l.spec.Vocab)
	return err
}

// Model writes the model of a folder as one file, its tokenizer included. Matrices get the
// type, vectors F32; a matrix whose rows Q8_0 can't have gets F16. The file appears whole
// or not at all.
func Model(ctx context.Context, dir, out string, to Type) error {
	l, err := layoutOf(dir)
	if err != nil {
		return err
	}
	files, err := safetensors.OpenModel(dir)
	if err != nil {
		return scu.Errorf(scu.CodeInvalid, "the model's weights can't be read: %w", err).At("base_model")
	}
	defer files.Close()
	if err := model.CheckFiles(l.spec, files); err != nil {
		return base.Within("base_model", err)
	}
	vocab, err := vocabulary(dir, l.spec.Vocab)
	if err != nil {
		return err
	}
	var tensors []Tensor
	for _, p := range l.params {
		t, ok := l.spec.Tensor(files, p.path)
		if !ok { // CheckFiles has seen it
			return scu.Errorf(scu.CodeInternal, "tensor %s is gone", p.path)
		}
		shape := p.shape(t.Shape)
		kind := p.kind(to, shape)
		tensors = append(tensors, Tensor{Name: p.name, Type: kind, Shape: shape, Data: func() ([]byte, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			w, err := t.Float32()
			if err != nil {
				return nil, scu.Errorf(scu.CodeUnsupported, "%w", err).At("base_model")
			}
			b, err := encode(kind, p.values(w, shape))
			if err != nil {
				return nil, scu.Errorf(scu.CodeInvalid, "tensor %s: %w", p.name, err).At("type").WithHint("take bf16")
			}
			return b, nil
		}})
	}
	tensors = append(tensors, l.ropeTensors()...)
	meta := append(l.meta(filepath.Base(filepath.Clean(dir)), to), vocab...)
	return whole(out, func(w io.Writer) error { return Write(w, meta, tensors) })
}

// Adapter writes the PEFT adapter of a folder as a file that llama.cpp lays over the model
// of the folder dir. llama.cpp scales by alpha over the rank alone: whatever else scales a
// module is in its B.
func Adapter(dir, adapter, out string, to Type) error {
	l, err := layoutOf(dir)
	if err != nil {
		return err
	}
	modules, param, err := lora.Read(adapter, l.spec.Targets(), l.spec.DefaultTargets)
	if err != nil {
		return base.Within("adapter", err)
	}
	cfg, _, err := lora.ReadConfig(adapter)
	if err != nil {
		return base.Within("adapter", err)
	}
	var tensors []Tensor
	for _, m := range modules {
		if m.Head && l.spec.TiedHead {
			return scu.Errorf(scu.CodeUnsupported, "an adapter on an output head that is the embedding too has no place in GGUF").At("adapter").WithHint("write the merged model")
		}
		p, ok := l.param(m.Path + ".weight")
		if !ok {
			return unsupported("the module %s", m.Path)
		}
		a, b := param[m.AOff:m.BOff], slices.Clone(param[m.BOff:m.BOff+m.Out*m.R])
		if more := float64(m.Scale) * float64(m.R) / cfg.Alpha; m.Scale != float32(cfg.Alpha/float64(m.R)) {
			for i := range b {
				b[i] = float32(float64(b[i]) * more)
			}
		}
		b = reordered(b, p.rows, m.R)
		for _, side := range []struct {
			name  string
			shape []int
			w     []float32
		}{{".lora_a", []int{m.R, m.In}, a}, {".lora_b", []int{m.Out, m.R}, b}} {
			kind := to.orF16(side.shape)
			tensors = append(tensors, Tensor{Name: p.name + side.name, Type: kind, Shape: side.shape, Data: func() ([]byte, error) {
				data, err := encode(kind, side.w)
				if err != nil {
					return nil, scu.Errorf(scu.CodeInvalid, "tensor %s: %w", p.name+side.name, err).At("type").WithHint("take bf16 or f32")
				}
				return data, nil
			}})
		}
	}
	meta := []Pair{{"general.architecture", l.family.arch}, {"general.type", "adapter"}, {"adapter.type", "lora"}, {"adapter.lora.alpha", float32(cfg.Alpha)},
		{"general.file_type", fileTypes[to]}, {"general.quantization_version", uint32(2)}}
	return whole(out, func(w io.Writer) error { return Write(w, meta, tensors) })
}

// Vacant refuses a name for a file that is taken.
func Vacant(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return scu.Errorf(scu.CodeConflict, "%s is there already", path).At("out").WithHint("choose another name")
	}
	return nil
}

// whole writes a file that appears whole or not at all, and over none.
func whole(path string, write func(io.Writer) error) (err error) {
	if err := Vacant(path); err != nil {
		return err
	}
	err = atomicfile.Write(path, 0o644, write)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return scu.Errorf(scu.CodeInvalid, "the file can't be made: %w", err).At("out")
	}
	if known := (*scu.Error)(nil); err != nil && !errors.As(err, &known) {
		return scu.Errorf(scu.CodeStorage, "the file can't be written: %w", err).At("out")
	}
	return err
}
