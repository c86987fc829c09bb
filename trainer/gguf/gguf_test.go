package gguf

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

const bookworm = "../../models/bookworm-2m"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is written is read again, whatever the types.
func TestContainer(t *testing.T) {
	meta := []Pair{{"a", uint32(7)}, {"b", int32(-1)}, {"c", float32(0.5)}, {"d", true}, {"e", "text"}, {"f", []string{"x", ""}}, {"g", []float32{1, 2}}, {"h", []int32{3}}, {"i", []bool{true, false}}}
	data := map[string][]byte{"one": make([]byte, 34*2), "two": f32Bytes([]float32{1, 2, 3})}
	data["one"][5] = 9
	tensor := func(name string, kind Type, shape ...int) Tensor {
		return Tensor{name, kind, shape, func() ([]byte, error) { return data[name], nil }}
	}
	var b bytes.Buffer
	must(t, Write(&b, meta, []Tensor{tensor("one", Q8_0, 2, 32), tensor("two", F32, 3)}))
	f, err := Parse(b.Bytes())
	must(t, err)
	for i, p := range meta {
		if !reflect.DeepEqual(f.Meta[p.Key], p.Value) || f.Keys[i] != p.Key {
			t.Errorf("%s is %v", p.Key, f.Meta[p.Key])
		}
	}
	for _, want := range f.Tensors {
		if !bytes.Equal(want.Data, data[want.Name]) {
			t.Errorf("%s has other bytes", want.Name)
		}
	}
	if f.Tensors[0].Shape[0] != 2 || f.Tensors[0].Shape[1] != 32 {
		t.Errorf("the shape is %v", f.Tensors[0].Shape)
	}
	for n := range b.Len() {
		if _, err := Parse(b.Bytes()[:n]); err == nil && n < b.Len()-32 {
			t.Fatalf("%d of %d bytes are taken for a file", n, b.Len())
		}
	}
	if err := Write(&b, nil, []Tensor{tensor("two", Q8_0, 3)}); err == nil {
		t.Error("three elements are written as Q8_0")
	}
}

func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	must(f, Write(&b, []Pair{{"a", []string{"x"}}, {"b", uint32(1)}}, []Tensor{{"t", F32, []int{1}, func() ([]byte, error) { return make([]byte, 4), nil }}}))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Parse(b)
		if err != nil {
			return
		}
		for _, x := range file.Tensors {
			if n, ok := x.Type.size(x.Shape); !ok || n != int64(len(x.Data)) {
				t.Errorf("%s has %d bytes", x.Name, len(x.Data))
			}
		}
	})
}

// A block's greatest magnitude is 127 and what comes back is within half a step.
func TestQ8(t *testing.T) {
	w := make([]float32, 64)
	for i := range w {
		w[i] = float32(math.Sin(float64(i))) * float32(1+i/32*9)
	}
	w[40] = 0
	data, err := encode(Q8_0, w)
	must(t, err)
	back, err := decode(Stored{Type: Q8_0, Shape: []int{2, 32}, Data: data})
	must(t, err)
	for i := range w {
		if step := 1.001 * float64(1+i/32*9) / 127; math.Abs(float64(back[i]-w[i])) > step/2+1e-3*step*127 {
			t.Errorf("%d: %v became %v", i, w[i], back[i])
		}
	}
	if _, err := encode(F16, []float32{1e5}); err == nil {
		t.Error("100000 is written as F16")
	}
}

// The built-in model as GGUF: each weight of the checkpoint once, queries and keys in the
// order that llama.cpp rotates, the tokenizer with all its merges.
func TestModel(t *testing.T) {
	files, err := safetensors.OpenModel(bookworm)
	must(t, err)
	defer files.Close()
	for name, kind := range Types {
		path := filepath.Join(t.TempDir(), "m.gguf")
		must(t, Model(t.Context(), bookworm, path, kind))
		f, err := Open(path)
		must(t, err)
		if len(f.Tensors) != len(files.Names()) {
			t.Errorf("%s: %d tensors, the checkpoint has %d", name, len(f.Tensors), len(files.Names()))
		}
		get := func(name string) []float32 {
			x, ok := f.Tensor(name)
			if !ok {
				t.Fatalf("no %s", name)
			}
			w, err := decode(x)
			must(t, err)
			return w
		}
		source := func(name string) []float32 {
			x, _ := files.Tensor(name)
			w, err := x.Float32()
			must(t, err)
			return w
		}
		tolerance := map[Type]float64{F32: 0, BF16: 0, F16: 1e-4, Q8_0: 0.02}[kind] // the checkpoint is BF16
		near := func(what string, got, want []float32) {
			for i := range want {
				if math.Abs(float64(got[i]-want[i])) > tolerance {
					t.Fatalf("%s: %s: element %d is %v, not %v", name, what, i, got[i], want[i])
				}
			}
		}
		near("down", get("blk.3.ffn_down.weight"), source("model.layers.3.mlp.down_proj.weight"))
		near("embedding", get("token_embd.weight"), source("model.embed_tokens.weight"))
		// Of a head of 32: row 0, row 16, row 1, row 17 ...
		got, want := get("blk.1.attn_k.weight"), source("model.layers.1.self_attn.k_proj.weight")
		for row, from := range []int{0, 16, 1, 17} {
			near("keys", got[(32+row)*192:][:192], want[(32+from)*192:][:192])
		}
		if f.Meta["general.architecture"] != "llama" || f.Meta["llama.attention.head_count_kv"] != uint32(2) || f.Meta["tokenizer.ggml.pre"] != "gpt-2" || f.Meta["tokenizer.ggml.add_bos_token"] != false {
			t.Errorf("metadata %v", f.Keys)
		}
		if tokens, merges := f.Meta["tokenizer.ggml.tokens"].([]string), f.Meta["tokenizer.ggml.merges"].([]string); len(tokens) != 4096 || tokens[0] != "<|endoftext|>" || len(merges) < 3000 || f.Meta["tokenizer.ggml.token_type"].([]int32)[0] != tokenControl {
			t.Errorf("%d tokens, %d merges", len(tokens), len(merges))
		}
	}
}

// An adapter's pairs lie over the base's tensors; what llama.cpp makes of them, alpha over
// the rank times B A, is each module's own scale, with the rows where the base has them.
func TestAdapter(t *testing.T) {
	spec, err := model.ReadSpec(bookworm)
	must(t, err)
	cfg := scu.DefaultConfig().LoRA
	cfg.R, cfg.Alpha, cfg.UseRSLoRA, cfg.RankPattern = 4, 6, true, map[string]int{"q_proj": 2}
	modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, cfg)
	must(t, err)
	dir, param := writeAdapter(t, bookworm, cfg), sines(lora.Count(modules))
	path := filepath.Join(dir, "a.gguf")
	must(t, Adapter(bookworm, dir, path, F32))
	if err := Adapter(bookworm, dir, path, F32); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("written over a file: %v", err)
	}
	f, err := Open(path)
	must(t, err)
	if f.Meta["adapter.type"] != "lora" || f.Meta["general.type"] != "adapter" || len(f.Tensors) != 2*len(modules) {
		t.Errorf("%v, %d tensors", f.Meta, len(f.Tensors))
	}
	alpha := float64(f.Meta["adapter.lora.alpha"].(float32))
	l, err := layoutOf(bookworm)
	must(t, err)
	for _, m := range modules {
		p, _ := l.param(m.Path + ".weight")
		b, ok := f.Tensor(p.name + ".lora_b")
		if !ok {
			t.Fatalf("no %s", p.name)
		}
		got, err := decode(b)
		must(t, err)
		want := reordered(param[m.BOff:m.BOff+m.Out*m.R], p.rows, m.R)
		for i := range want {
			if x, y := float64(got[i])*alpha/float64(m.R), float64(want[i])*float64(m.Scale); math.Abs(x-y) > 1e-5*math.Abs(y)+1e-9 {
				t.Fatalf("%s: element %d of B counts %v, not %v", m.Path, i, x, y)
			}
		}
	}
}

func sines(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.Sin(float64(i)))
	}
	return out
}

// The two ways of a tokenizer.json that llama.cpp has: byte-level with the known patterns,
// and SentencePiece with its bytes, whose scores are in the order of the merges.
func TestVocabulary(t *testing.T) {
	dir := t.TempDir()
	write := func(tokenizer map[string]any) ([]Pair, error) {
		b, err := json.Marshal(tokenizer)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), b, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"bos_token_id":1,"eos_token_id":[2,3]}`), 0o600))
		return vocabulary(dir, 8)
	}
	meta, err := write(map[string]any{
		"added_tokens":   []any{map[string]any{"id": 1, "content": "<s>", "special": true}},
		"post_processor": map[string]any{"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>"}}}},
		"model": map[string]any{"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": map[string]int{"<unk>": 0, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5, "abb": 6},
			"merges": []string{"a b", "ab b"}}})
	must(t, err)
	found := map[string]any{}
	for _, p := range meta {
		found[p.Key] = p.Value
	}
	want := map[string]any{"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": []float32{0, 0, 0, 0, 0, -1, -2, 0}, "tokenizer.ggml.token_type": []int32{2, 3, 6, 1, 1, 1, 1, 5},
		"tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.bos_token_id": uint32(1), "tokenizer.ggml.eos_token_id": uint32(2)}
	for key, value := range want {
		if !reflect.DeepEqual(found[key], value) {
			t.Errorf("%s is %v", key, found[key])
		}
	}
	const words = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	type object = map[string]any
	level, split := object{"type": "ByteLevel", "use_regex": false}, object{"type": "Split", "pattern": object{"Regex": words}}
	sequence := func(kind string, parts ...any) object { return object{"type": "Sequence", kind: parts} }
	for name, x := range map[string]struct {
		tokenizer object
		key       string
		value     any
	}{
		"Llama 3 takes whole words first": {object{"pre_tokenizer": sequence("pretokenizers", split, level), "model": object{"type": "BPE", "ignore_merges": true}}, "pre", "llama-bpe"},
		"OLMo 2 doesn't":                  {object{"pre_tokenizer": sequence("pretokenizers", split, level), "model": object{"type": "BPE"}}, "pre", "dbrx"},
		"SmolLM cuts digits apart": {object{"pre_tokenizer": sequence("pretokenizers", object{"type": "Digits", "individual_digits": true}, object{"type": "ByteLevel", "use_regex": true}),
			"model": object{"type": "BPE"}}, "pre", "smollm"},
		"Llama 2 begins with a space": {object{"normalizer": sequence("normalizers", object{"type": "Prepend", "prepend": "▁"}, object{"type": "Replace"}),
			"model": object{"type": "BPE", "byte_fallback": true}}, "add_space_prefix", true},
		"so does Mistral": {object{"pre_tokenizer": object{"type": "Metaspace", "prepend_scheme": "first"}, "model": object{"type": "BPE", "byte_fallback": true}}, "add_space_prefix", true},
		"Gemma doesn't": {object{"normalizer": object{"type": "Replace"}, "pre_tokenizer": object{"type": "Split", "pattern": object{"String": " "}},
			"model": object{"type": "BPE", "byte_fallback": true}}, "add_space_prefix", false},
		"Gemma's runs of spaces are looked for as such": {object{"added_tokens": []any{object{"id": 3, "content": "▁▁"}}, "model": object{"type": "BPE", "byte_fallback": true}},
			"tokens", []string{"[PAD0]", "[PAD1]", "[PAD2]", "  ", "[PAD4]", "[PAD5]", "[PAD6]", "[PAD7]"}},
	} {
		meta, err := write(x.tokenizer)
		must(t, err)
		i := slices.IndexFunc(meta, func(p Pair) bool { return p.Key == "tokenizer.ggml."+x.key })
		if i < 0 || !reflect.DeepEqual(meta[i].Value, x.value) {
			t.Errorf("%s: %v", name, meta)
		}
	}
	for name, pre := range map[string]any{"unknown pattern": map[string]any{"type": "Split", "pattern": map[string]any{"Regex": "x"}}, "Whitespace": map[string]any{"type": "Whitespace"}} {
		if _, err := write(map[string]any{"pre_tokenizer": pre, "model": map[string]any{"type": "BPE", "vocab": map[string]int{}}}); scu.CodeOf(err) != scu.CodeUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := write(map[string]any{"model": map[string]any{"type": "Unigram"}}); scu.CodeOf(err) != scu.CodeUnsupported {
		t.Errorf("Unigram: %v", err)
	}
}
