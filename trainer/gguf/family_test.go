package gguf

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/merge"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// small makes a folder of the model of a reference run, with a tokenizer that those lack and
// config.json changed as said.
func small(t *testing.T, run string, change map[string]any) string {
	t.Helper()
	from, dir := "../testdata/goldens/"+run+"/model", t.TempDir()
	files, err := filepath.Glob(from + "/*.safetensors*")
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600))
	}
	b, err := os.ReadFile(from + "/config.json")
	must(t, err)
	config := map[string]any{}
	must(t, json.Unmarshal(b, &config))
	maps.Copy(config, change)
	b, err = json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600))
	tokenizer := `{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`
	must(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(tokenizer), 0o600))
	return dir
}

// matrix is a tensor as rows.
func matrix(t *testing.T, w []float32, shape []int) [][]float32 {
	t.Helper()
	if len(shape) == 1 {
		shape = []int{shape[0], 1}
	}
	return slices.Collect(slices.Chunk(w, shape[1]))
}

// Each family's weights are where llama.cpp looks for them, once, in its layout: of one layer
// all that its graph asks for, and what the checkpoint has in another form than GGUF.
func TestFamilies(t *testing.T) {
	llama := []string{"attn_norm.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"}
	gpt := []string{"attn_norm.weight", "attn_norm.bias", "attn_qkv.weight", "attn_qkv.bias", "attn_output.weight", "attn_output.bias",
		"ffn_norm.weight", "ffn_norm.bias", "ffn_up.weight", "ffn_up.bias", "ffn_down.weight", "ffn_down.bias"}
	gemma2 := append([]string{"post_attention_norm.weight", "post_ffw_norm.weight"}, llama...)
	heads := func(kind int) func(int) int { // of 4 heads of 12, packed head by head: row i of queries, keys or values
		return func(i int) int { return i/12*36 + kind*12 + i%12 }
	}
	halves := func(i int) int { return i/12*12 + i%2*6 + i%12/2 } // of a head of 12: rows 0, 6, 1, 7 ...
	same := func(i int) int { return i }
	type form struct {
		name, path string
		first      int           // row of the tensor
		row        func(int) int // of the checkpoint, for rows from first on
		rows       int
		add        float32
		transposed bool
	}
	for run, want := range map[string]struct {
		arch   string
		layer  []string
		others []string // beside token_embd and output_norm
		forms  []form
		meta   map[string]any
	}{
		"llama": {"llama", llama, []string{"output.weight"}, []form{{name: "blk.1.attn_q.weight", path: "model.layers.1.self_attn.q_proj.weight", row: halves, rows: 48}},
			map[string]any{"attention.layer_norm_rms_epsilon": float32(1e-6)}},
		"llama3_rope": {"llama", llama, []string{"rope_freqs.weight"}, nil, nil},
		"mistral":     {"llama", llama, []string{"output.weight"}, []form{{name: "blk.0.attn_k.weight", path: "model.layers.0.self_attn.k_proj.weight", row: halves, rows: 24}}, map[string]any{"context_length": uint32(8)}},
		"qwen2": {"qwen2", append([]string{"attn_q.bias", "attn_k.bias", "attn_v.bias"}, llama...), nil,
			[]form{{name: "blk.1.attn_k.bias", path: "model.layers.1.self_attn.k_proj.bias", row: same, rows: 24}}, nil},
		"qwen3": {"qwen3", append([]string{"attn_q_norm.weight", "attn_k_norm.weight"}, llama...), nil, nil, nil},
		"gemma": {"gemma", llama, nil, []form{
			{name: "blk.1.ffn_norm.weight", path: "model.layers.1.post_attention_layernorm.weight", row: same, rows: 48, add: 1},
			{name: "output_norm.weight", path: "model.norm.weight", row: same, rows: 48, add: 1},
			{name: "blk.0.attn_q.weight", path: "model.layers.0.self_attn.q_proj.weight", row: same, rows: 48}}, nil},
		"gemma2": {"gemma2", gemma2, nil, []form{
			{name: "blk.0.post_attention_norm.weight", path: "model.layers.0.post_attention_layernorm.weight", row: same, rows: 48, add: 1},
			{name: "blk.0.ffn_norm.weight", path: "model.layers.0.pre_feedforward_layernorm.weight", row: same, rows: 48, add: 1},
			{name: "blk.1.post_ffw_norm.weight", path: "model.layers.1.post_feedforward_layernorm.weight", row: same, rows: 48, add: 1}},
			map[string]any{"attention.sliding_window": uint32(8), "attention.sliding_window_pattern": []bool{true, false}, "attn_logit_softcapping": float32(50), "final_logit_softcapping": float32(30)}},
		"gemma3": {"gemma3", append([]string{"attn_q_norm.weight", "attn_k_norm.weight"}, gemma2...), nil,
			[]form{{name: "blk.3.attn_q_norm.weight", path: "model.layers.3.self_attn.q_norm.weight", row: same, rows: 16, add: 1}},
			map[string]any{"rope.freq_base": float32(1e6), "rope.freq_base_swa": float32(1e4), "attention.sliding_window_pattern": []bool{true, false, true, false}}},
		"phi3": {"phi3", []string{"attn_norm.weight", "attn_qkv.weight", "attn_output.weight", "ffn_norm.weight", "ffn_up.weight", "ffn_down.weight"}, []string{"output.weight"},
			[]form{{name: "blk.0.ffn_up.weight", path: "model.layers.0.mlp.gate_up_proj.weight", row: same, rows: 160},
				{name: "blk.0.attn_qkv.weight", path: "model.layers.0.self_attn.qkv_proj.weight", row: same, rows: 96}}, nil},
		"olmo2": {"olmo2", []string{"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_q_norm.weight", "attn_k_norm.weight", "attn_output.weight", "post_attention_norm.weight",
			"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight", "post_ffw_norm.weight"}, []string{"output.weight"},
			[]form{{name: "blk.1.post_attention_norm.weight", path: "model.layers.1.post_attention_layernorm.weight", row: same, rows: 48}}, nil},
		"gpt2": {"gpt2", gpt, []string{"position_embd.weight", "output_norm.bias"}, []form{
			{name: "blk.0.attn_qkv.weight", path: "transformer.h.0.attn.c_attn.weight", row: same, rows: 144, transposed: true},
			{name: "blk.1.ffn_down.weight", path: "transformer.h.1.mlp.c_proj.weight", row: same, rows: 48, transposed: true},
			{name: "position_embd.weight", path: "transformer.wpe.weight", row: same, rows: 64}}, map[string]any{"attention.layer_norm_epsilon": float32(1e-5)}},
		"gpt_neox": {"gptneox", gpt, []string{"output.weight", "output_norm.bias"}, []form{
			{name: "blk.0.attn_qkv.weight", path: "gpt_neox.layers.0.attention.query_key_value.weight", row: heads(0), rows: 48},
			{name: "blk.0.attn_qkv.weight", path: "gpt_neox.layers.0.attention.query_key_value.weight", first: 48, row: heads(1), rows: 48},
			{name: "blk.1.attn_qkv.bias", path: "gpt_neox.layers.1.attention.query_key_value.bias", first: 96, row: heads(2), rows: 48}},
			map[string]any{"use_parallel_residual": true, "rope.dimension_count": uint32(6)}},
	} {
		t.Run(run, func(t *testing.T) {
			dir := small(t, run, even[run])
			path := filepath.Join(dir, "m.gguf")
			must(t, Model(t.Context(), dir, path, F32))
			f, err := Open(path)
			must(t, err)
			spec, err := model.ReadSpec(dir)
			must(t, err)
			files, err := safetensors.OpenModel(dir)
			must(t, err)
			defer files.Close()
			names := append([]string{"token_embd.weight", "output_norm.weight"}, want.others...)
			for i := range spec.Layers {
				for _, name := range want.layer {
					names = append(names, fmt.Sprintf("blk.%d.%s", i, name))
				}
			}
			var got []string
			for _, x := range f.Tensors {
				got = append(got, x.Name)
			}
			slices.Sort(names)
			slices.Sort(got)
			if !slices.Equal(got, names) {
				t.Errorf("tensors %v; want %v", got, names)
			}
			for _, x := range want.forms {
				stored, ok := f.Tensor(x.name)
				source, there := spec.Tensor(files, x.path)
				if !ok || !there {
					t.Fatalf("no %s or %s", x.name, x.path)
				}
				w, err := decode(stored)
				must(t, err)
				s, err := source.Float32()
				must(t, err)
				is, was := matrix(t, w, stored.Shape), matrix(t, s, source.Shape)
				for i := range x.rows {
					for c := range is[x.first+i] {
						want := float32(0)
						if x.transposed {
							want = was[c][x.row(i)]
						} else {
							want = was[x.row(i)][c]
						}
						if is[x.first+i][c] != want+x.add {
							t.Fatalf("%s: row %d, column %d is %v, not %v", x.name, x.first+i, c, is[x.first+i][c], want+x.add)
						}
					}
				}
			}
			if f.Meta["general.architecture"] != want.arch {
				t.Errorf("architecture %v", f.Meta["general.architecture"])
			}
			for key, value := range want.meta {
				if got := f.Meta[want.arch+"."+key]; !reflect.DeepEqual(got, value) {
					t.Errorf("%s is %v, not %v", key, got, value)
				}
			}
		})
	}
}

// even makes a reference run's model one that llama.cpp computes: that of gpt_neox rotates
// three elements of a head.
var even = map[string]map[string]any{
	"gpt_neox": {"rope_parameters": map[string]any{"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
}

// An adapter over its base is the merged model, in GGUF's own layout, whatever the family
// does to it.
func TestAdapterOverBase(t *testing.T) {
	for _, run := range []string{"llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "olmo2", "gpt2", "gpt_neox"} {
		t.Run(run, func(t *testing.T) {
			dir, out := small(t, run, even[run]), t.TempDir()
			adapter := randomAdapter(t, dir)
			path := func(name string) string { return filepath.Join(out, name) }
			must(t, Model(t.Context(), dir, path("base.gguf"), F32))
			must(t, Adapter(dir, adapter, path("adapter.gguf"), F32))
			dev, err := cpu.New(1)
			must(t, err)
			defer dev.Close()
			_, err = merge.Run(t.Context(), dev, merge.Options{Base: dir, Adapter: adapter, Out: path("merged")})
			must(t, err)
			must(t, Model(t.Context(), path("merged"), path("merged.gguf"), F32))
			read := func(name string) *File {
				f, err := Open(path(name))
				must(t, err)
				return f
			}
			base, over, merged := read("base.gguf"), read("adapter.gguf"), read("merged.gguf")
			alpha, changed := over.Meta["adapter.lora.alpha"].(float32), 0
			for _, x := range base.Tensors {
				y, ok := merged.Tensor(x.Name)
				if !ok || !slices.Equal(x.Shape, y.Shape) {
					t.Fatalf("%s is %v in the merged model, not %v", x.Name, y.Shape, x.Shape)
				}
				was, err := decode(x)
				must(t, err)
				is, err := decode(y)
				must(t, err)
				if a, ok := over.Tensor(x.Name + ".lora_a"); ok {
					b, _ := over.Tensor(x.Name + ".lora_b")
					add(t, was, a, b, alpha)
					changed++
				}
				for i := range was {
					if d := was[i] - is[i]; d > 1e-5 || d < -1e-5 {
						t.Fatalf("%s: element %d is %v with the adapter, %v merged", x.Name, i, was[i], is[i])
					}
				}
			}
			if 2*changed != len(over.Tensors) || changed == 0 {
				t.Errorf("%d of the adapter's %d tensors have a place", 2*changed, len(over.Tensors))
			}
		})
	}
}

// add adds alpha/rank B A, as llama.cpp does.
func add(t *testing.T, w []float32, a, b Stored, alpha float32) {
	t.Helper()
	x, err := decode(a)
	must(t, err)
	y, err := decode(b)
	must(t, err)
	r, in := a.Shape[0], a.Shape[1]
	for i := range b.Shape[0] {
		for k := range r {
			for c := range in {
				w[i*in+c] += alpha / float32(r) * y[i*r+k] * x[k*in+c]
			}
		}
	}
}

// randomAdapter writes an adapter on the family's default modules.
func randomAdapter(t *testing.T, model string) string {
	t.Helper()
	cfg := scu.DefaultConfig().LoRA
	cfg.R, cfg.Alpha = 4, 6
	return writeAdapter(t, model, cfg)
}

// What llama.cpp would compute otherwise, or wouldn't load, is refused by name before
// anything is written.
func TestComputedOtherwise(t *testing.T) {
	for _, x := range []struct {
		run    string
		change map[string]any
		says   string
	}{
		{"gpt_neo", nil, "gpt_neo"},
		{"blenderbot", nil, "blenderbot"},
		{"gpt2", map[string]any{"activation_function": "relu"}, "activation"},
		{"gpt2", map[string]any{"scale_attn_by_inverse_layer_idx": true}, "scores"},
		{"gemma2", map[string]any{"query_pre_attn_scalar": 25}, "scores"},
		{"gemma2", map[string]any{"final_logit_softcapping": nil}, "final_logit_softcapping"},
		{"gemma2", map[string]any{"attn_logit_softcapping": nil}, "attn_logit_softcapping"},
		{"gemma", map[string]any{"tie_word_embeddings": false}, "head"},
		{"qwen3", map[string]any{"attention_bias": true}, "attention_bias"},
		{"gpt_neox", map[string]any{"attention_bias": false}, "attention_bias"},
		{"gpt_neox", nil, "odd"},
		{"phi3", map[string]any{"head_dim": 16}, "heads"},
		{"qwen2", map[string]any{"rope_parameters": map[string]any{"rope_type": "llama3", "factor": 8, "rope_theta": 1e4}}, "llama3"},
		{"llama", map[string]any{"rope_parameters": map[string]any{"rope_type": "dynamic", "factor": 2, "rope_theta": 1e4}}, "dynamic"},
	} {
		err := Supported(small(t, x.run, x.change))
		if scu.CodeOf(err) != scu.CodeUnsupported || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s with %v: %v", x.run, x.change, err)
		}
	}
}

// Phi-3's factors for short and long texts are tensors of their own.
func TestLongRoPE(t *testing.T) {
	short, long := make([]float64, 6), make([]float64, 6)
	for i := range short {
		short[i], long[i] = 1+float64(i)/8, 2+float64(i)
	}
	dir := small(t, "phi3", map[string]any{"max_position_embeddings": 256, "original_max_position_embeddings": 64,
		"rope_parameters": map[string]any{"rope_type": "longrope", "rope_theta": 1e4, "short_factor": short, "long_factor": long}})
	path := filepath.Join(dir, "m.gguf")
	must(t, Model(t.Context(), dir, path, F16))
	f, err := Open(path)
	must(t, err)
	for name, want := range map[string][]float64{"rope_factors_short.weight": short, "rope_factors_long.weight": long} {
		x, _ := f.Tensor(name)
		got, err := decode(x)
		must(t, err)
		for i := range want {
			if float64(got[i]) != want[i] {
				t.Errorf("%s: %v, not %v", name, got, want)
			}
		}
	}
	if f.Meta["phi3.rope.scaling.original_context_length"] != uint32(64) || f.Meta["phi3.rope.scaling.attn_factor"].(float32) != 1.1547005 { // sqrt(1 + ln 4 / ln 64)
		t.Errorf("original_context_length %v, attn_factor %v", f.Meta["phi3.rope.scaling.original_context_length"], f.Meta["phi3.rope.scaling.attn_factor"])
	}
}

// writeAdapter writes an adapter of that config with weights that aren't zero.
func writeAdapter(t *testing.T, base string, cfg scu.LoRAConfig) string {
	t.Helper()
	spec, err := model.ReadSpec(base)
	must(t, err)
	cfg.TargetModules = spec.DefaultTargets
	modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, cfg)
	must(t, err)
	dir, param := t.TempDir(), sines(lora.Count(modules))
	weights, err := lora.Weights(modules, param)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, lora.WeightsFile), weights, 0o600))
	config, err := lora.PEFTConfig(base, cfg.TargetModules, modules, cfg)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, lora.ConfigFile), config, 0o600))
	return dir
}
