package gguf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// architectures are llama.cpp's names of the families that this package writes.
var architectures = map[string]string{"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

// Types are the element types that weights can have, by the names that people give.
var Types = map[string]Type{"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0}

// fileTypes are llama.cpp's numbers of files by the type of most of their weights.
var fileTypes = map[Type]uint32{F32: 0, F16: 1, Q8_0: 7, BF16: 32}

// layerNames are the names in a block, by those in a layer of Llama's descendants.
var layerNames = map[string]string{
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}

// layout is how a model is laid out in GGUF.
type layout struct {
	spec *model.Spec
	arch string
}

func layoutOf(dir string) (*layout, error) {
	spec, err := model.ReadSpec(dir)
	if err != nil {
		return nil, base.Within("base_model", err)
	}
	arch, ok := architectures[spec.Family]
	if !ok {
		return nil, unsupported("the family %s", spec.Family)
	}
	rope := spec.Layers[0].Attn.RoPE
	switch rope.Scaler.Type {
	case "", "linear", "llama3":
	default:
		return nil, unsupported("rotary positions scaled by %s", rope.Scaler.Type)
	}
	for _, l := range spec.Layers {
		if w := l.Attn.Window; w > 0 && w < spec.Positions {
			return nil, unsupported("attention within a window of %d", w)
		}
	}
	return &layout{spec, arch}, nil
}

// Supported refuses a model of a family that this package doesn't write.
func Supported(dir string) error {
	_, err := layoutOf(dir)
	return err
}

// name is what GGUF calls a parameter of a path, such as model.layers.0.mlp.up_proj.weight;
// false if it has none.
func (l *layout) name(path string) (string, bool) {
	dot := strings.LastIndexByte(path, '.')
	module, kind := path[:dot], path[dot:]
	switch module {
	case "model.embed_tokens":
		return "token_embd" + kind, true
	case "model.norm":
		return "output_norm" + kind, true
	case "lm_head":
		return "output" + kind, true
	}
	rest, ok := strings.CutPrefix(module, "model.layers.")
	number, inner, cut := strings.Cut(rest, ".")
	short := layerNames[inner]
	return fmt.Sprintf("blk.%s.%s%s", number, short, kind), ok && cut && short != ""
}

// reorder puts the rows of a query's or key's projection where llama.cpp's rotation expects
// them: within a head, pairs stand together instead of half a head apart. n is the length
// of a row.
func (l *layout) reorder(path string, w []float32, n int) []float32 {
	if l.arch != "llama" {
		return w
	}
	if module := path[:strings.LastIndexByte(path, '.')]; !strings.HasSuffix(module, ".q_proj") && !strings.HasSuffix(module, ".k_proj") {
		return w
	}
	dim := l.spec.Layers[0].Attn.HeadDim
	out := make([]float32, len(w))
	for row := 0; row < len(w)/n; row++ {
		head, i := row/dim, row%dim
		from := head*dim + i%2*(dim/2) + i/2
		copy(out[row*n:(row+1)*n], w[from*n:])
	}
	return out
}

// rowLength is the elements of a row: 1 of a vector.
func rowLength(shape []int) int {
	if len(shape) == 1 {
		return 1
	}
	return shape[len(shape)-1]
}

// paths are the parameters that a checkpoint of the family may have.
func (l *layout) paths() []string {
	out := []string{"model.embed_tokens.weight"}
	inner := make([]string, 0, len(layerNames))
	for name := range layerNames {
		inner = append(inner, name)
	}
	slices.Sort(inner)
	for i := range l.spec.Layers {
		for _, name := range inner {
			for _, kind := range []string{".weight", ".bias"} {
				out = append(out, fmt.Sprintf("model.layers.%d.%s%s", i, name, kind))
			}
		}
	}
	return append(out, "model.norm.weight", "lm_head.weight")
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
	for _, path := range l.paths() {
		t, ok := l.spec.Tensor(files, path)
		if !ok || path == "lm_head.weight" && l.spec.TiedHead {
			continue
		}
		name, _ := l.name(path)
		kind := to
		if len(t.Shape) == 1 {
			kind = F32
		} else if _, fits := to.size(t.Shape); !fits {
			kind = F16
		}
		tensors = append(tensors, Tensor{Name: name, Type: kind, Shape: t.Shape, Data: func() ([]byte, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			w, err := t.Float32()
			if err != nil {
				return nil, scu.Errorf(scu.CodeUnsupported, "%w", err).At("base_model")
			}
			b, err := encode(kind, l.reorder(path, w, rowLength(t.Shape)))
			if err != nil {
				return nil, scu.Errorf(scu.CodeInvalid, "tensor %s: %w", name, err).At("type").WithHint("take bf16")
			}
			return b, nil
		}})
	}
	if factors := l.ropeFactors(); factors != nil {
		tensors = append(tensors, Tensor{Name: "rope_freqs.weight", Type: F32, Shape: []int{len(factors)}, Data: func() ([]byte, error) { return f32Bytes(factors), nil }})
	}
	meta := append(l.meta(filepath.Base(filepath.Clean(dir)), to), vocab...)
	return whole(out, func(w io.Writer) error { return Write(w, meta, tensors) })
}

// meta is a model's metadata but for its tokenizer.
func (l *layout) meta(name string, to Type) []Pair {
	s, a := l.spec, l.spec.Layers[0].Attn
	meta := []Pair{{"general.architecture", l.arch}, {"general.type", "model"}, {"general.name", name}}
	add := func(key string, value any) { meta = append(meta, Pair{l.arch + "." + key, value}) }
	add("block_count", uint32(len(s.Layers)))
	add("context_length", uint32(s.Positions))
	add("embedding_length", uint32(s.Hidden))
	add("feed_forward_length", uint32(s.Layers[0].MLP.Width))
	add("attention.head_count", uint32(a.Q.N))
	add("attention.head_count_kv", uint32(a.K.N))
	add("attention.layer_norm_rms_epsilon", s.FinalNorm.Eps)
	add("attention.key_length", uint32(a.HeadDim))
	add("attention.value_length", uint32(a.HeadDim))
	add("rope.freq_base", float32(a.RoPE.Theta))
	add("rope.dimension_count", uint32(a.HeadDim))
	add("vocab_size", uint32(s.Vocab))
	if a.RoPE.Scaler.Type == "linear" {
		add("rope.scaling.type", "linear")
		add("rope.scaling.factor", float32(a.RoPE.Scaler.Factor))
	}
	return append(meta, Pair{"general.file_type", fileTypes[to]}, Pair{"general.quantization_version", uint32(2)})
}

// ropeFactors divide the frequencies of a rotation that is scaled as Llama 3's; nil if it
// isn't.
func (l *layout) ropeFactors() []float32 {
	r := l.spec.Layers[0].Attn.RoPE
	s := r.Scaler
	if s.Type != "llama3" {
		return nil
	}
	low, high := float64(s.Original)/s.LowFreq, float64(s.Original)/s.HighFreq
	out := make([]float32, r.Pairs())
	for i := range out {
		wave := 2 * math.Pi * math.Pow(r.Theta, float64(2*i)/float64(r.Dim))
		switch {
		case wave < high:
			out[i] = 1
		case wave > low:
			out[i] = float32(s.Factor)
		default:
			smooth := (float64(s.Original)/wave - s.LowFreq) / (s.HighFreq - s.LowFreq)
			out[i] = float32(1 / ((1-smooth)/s.Factor + smooth))
		}
	}
	return out
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
		path := m.Path + ".weight"
		name, ok := l.name(path)
		if !ok {
			return unsupported("the module %s", m.Path)
		}
		a, b := param[m.AOff:m.BOff], slices.Clone(param[m.BOff:m.BOff+m.Out*m.R])
		if more := float64(m.Scale) * float64(m.R) / cfg.Alpha; m.Scale != float32(cfg.Alpha/float64(m.R)) {
			for i := range b {
				b[i] = float32(float64(b[i]) * more)
			}
		}
		b = l.reorder(path, b, m.R)
		for _, side := range []struct {
			name  string
			shape []int
			w     []float32
		}{{".lora_a", []int{m.R, m.In}, a}, {".lora_b", []int{m.Out, m.R}, b}} {
			kind := to
			if _, fits := to.size(side.shape); !fits {
				kind = F16
			}
			tensors = append(tensors, Tensor{Name: name + side.name, Type: kind, Shape: side.shape, Data: func() ([]byte, error) {
				data, err := encode(kind, side.w)
				if err != nil {
					return nil, scu.Errorf(scu.CodeInvalid, "tensor %s: %w", name+side.name, err).At("type").WithHint("take bf16 or f32")
				}
				return data, nil
			}})
		}
	}
	meta := []Pair{{"general.architecture", l.arch}, {"general.type", "adapter"}, {"adapter.type", "lora"}, {"adapter.lora.alpha", float32(cfg.Alpha)},
		{"general.file_type", fileTypes[to]}, {"general.quantization_version", uint32(2)}}
	return whole(out, func(w io.Writer) error { return Write(w, meta, tensors) })
}

// whole writes a file that appears whole or not at all, and over none.
func whole(path string, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return scu.Errorf(scu.CodeConflict, "%s is there already", path).At("out").WithHint("choose another name")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".gguf-*")
	if err != nil {
		return scu.Errorf(scu.CodeInvalid, "the file can't be made: %w", err).At("out")
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err = write(f); err != nil {
		if known := (*scu.Error)(nil); errors.As(err, &known) {
			return err
		}
		return scu.Errorf(scu.CodeStorage, "the file can't be written: %w", err).At("out")
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
