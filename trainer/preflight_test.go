package trainer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
)

// modelCopy is the built-in model in a folder of its own, to be damaged.
func modelCopy(t *testing.T) string {
	t.Helper()
	dir, err := models.Extract(t.TempDir())
	must(t, err)
	return dir
}

// edit changes a JSON file of a model folder.
func edit(t *testing.T, dir, file string, change func(map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, file)
	b, err := os.ReadFile(path)
	must(t, err)
	var m map[string]any
	must(t, json.Unmarshal(b, &m))
	change(m)
	b, err = json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o600))
}

// rewrite changes the bytes of a file of a model folder.
func rewrite(t *testing.T, dir, file string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, file)
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, change(b), 0o600))
}

// withHead adds an output head of zeros to a safetensors file.
func withHead(t *testing.T, b []byte) []byte {
	t.Helper()
	n := binary.LittleEndian.Uint64(b)
	var header map[string]any
	must(t, json.Unmarshal(b[8:8+n], &header))
	embed := header["model.embed_tokens.weight"].(map[string]any)
	offsets := embed["data_offsets"].([]any)
	at, size := len(b)-8-int(n), int(offsets[1].(float64)-offsets[0].(float64))
	header["lm_head.weight"] = map[string]any{"dtype": embed["dtype"], "shape": embed["shape"], "data_offsets": []int{at, at + size}}
	text, err := json.Marshal(header)
	must(t, err)
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	return append(append(out, b[8+n:]...), make([]byte, size)...)
}

// A model, adapter or data that can't be trained is refused before anything
// starts, with what is wrong and where.
func TestPreflightRefuses(t *testing.T) {
	const text = "It was a dark night, and the lamp had gone out.\n"
	for _, c := range []struct {
		name   string
		model  func(t *testing.T, dir string) // damages a copy of the built-in model
		config func(*scu.Config)
		data   string // default: text
		file   string // its name; default data.txt
		code   scu.Code
		says   string
	}{
		{name: "no config.json", model: func(t *testing.T, dir string) { must(t, os.Remove(dir+"/config.json")) }, code: scu.CodeInvalid, says: "base_model: the model folder has no readable config.json"},
		{name: "broken config.json", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "config.json", func(b []byte) []byte { return b[:20] })
		}, code: scu.CodeInvalid, says: "not a JSON object"},
		{name: "unknown architecture", model: func(t *testing.T, dir string) {
			edit(t, dir, "config.json", func(m map[string]any) { m["model_type"] = "mamba" })
		}, code: scu.CodeUnsupported, says: `model_type "mamba" is not supported (supported: `},
		{name: "unknown field that matters", model: func(t *testing.T, dir string) {
			edit(t, dir, "config.json", func(m map[string]any) { m["logit_scale"] = 0.5 })
		}, code: scu.CodeUnsupported, says: "logit_scale = 0.5 is not supported"},
		{name: "shapes that config.json contradicts", model: func(t *testing.T, dir string) {
			edit(t, dir, "config.json", func(m map[string]any) { m["intermediate_size"] = 400 })
		}, code: scu.CodeInvalid, says: "has shape [512 192]; config.json says [400 192]"},
		{name: "a layer that isn't there", model: func(t *testing.T, dir string) {
			edit(t, dir, "config.json", func(m map[string]any) { m["num_hidden_layers"] = 5 })
		}, code: scu.CodeInvalid, says: "the checkpoint has no tensor model.layers.4"},
		{name: "no weights", model: func(t *testing.T, dir string) { must(t, os.Remove(dir+"/model.safetensors")) }, code: scu.CodeInvalid, says: "weights can't be read"},
		{name: "truncated weights", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "model.safetensors", func(b []byte) []byte { return b[:len(b)-1000] })
		}, code: scu.CodeInvalid, says: "weights can't be read"},
		{name: "weights cut in the header", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "model.safetensors", func(b []byte) []byte { return b[:100] })
		}, code: scu.CodeInvalid, says: "weights can't be read"},
		{name: "header longer than the file", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "model.safetensors", func(b []byte) []byte { binary.LittleEndian.PutUint64(b, 1<<62); return b })
		}, code: scu.CodeInvalid, says: "weights can't be read"},
		{name: "lying offsets", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "model.safetensors", func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"data_offsets":[0,`), []byte(`"data_offsets":[9,`), 1)
			})
		}, code: scu.CodeInvalid, says: "weights can't be read"},
		{name: "empty weights", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "model.safetensors", func([]byte) []byte { return nil })
		}, code: scu.CodeInvalid, says: "weights can't be read"},
		{name: "no tokenizer", model: func(t *testing.T, dir string) { must(t, os.Remove(dir+"/tokenizer.json")) }, code: scu.CodeInvalid, says: "tokenizer can't be read"},
		{name: "broken tokenizer", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "tokenizer.json", func(b []byte) []byte { return b[:len(b)/2] })
		}, code: scu.CodeInvalid, says: "tokenizer can't be read"},
		{name: "tokenizer of another model", model: func(t *testing.T, dir string) {
			edit(t, dir, "tokenizer.json", func(m map[string]any) {
				m["added_tokens"] = append(m["added_tokens"].([]any), map[string]any{"id": 5000, "content": "<|other|>", "special": true,
					"single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
			})
		}, code: scu.CodeInvalid, says: "they don't belong together"},
		{name: "end-of-text outside the vocabulary", model: func(t *testing.T, dir string) {
			edit(t, dir, "config.json", func(m map[string]any) { m["eos_token_id"] = 4096 })
		}, code: scu.CodeInvalid, says: "eos_token_id 4096 is outside the vocabulary"},
		{name: "a tied head that differs", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "model.safetensors", func(b []byte) []byte { return withHead(t, b) })
		}, code: scu.CodeInvalid, says: "tensors model.embed_tokens.weight and lm_head.weight differ"},
		{name: "a setting that is NaN", model: func(t *testing.T, dir string) {
			rewrite(t, dir, "config.json", func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"rms_norm_eps": `), []byte(`"rms_norm_eps": NaN, "was": `), 1)
			})
		}, code: scu.CodeInvalid, says: "rms_norm_eps"},
		{name: "unknown module", config: func(c *scu.Config) { c.LoRA.TargetModules = []string{"q_proj", "c_attn"} }, code: scu.CodeInvalid, says: `lora.target_modules[1]: "c_attn" names no linear module`},
		{name: "block too long", config: func(c *scu.Config) { must(t, c.Merge(map[string]any{"block_size": 1024.})) }, code: scu.CodeInvalid, says: "block_size: 1024 is longer than the model's 512 positions"},
		{name: "upload without a token", config: func(c *scu.Config) { c.AutoUploadToHub = true }, code: scu.CodeInvalid, says: "auto_upload_to_hub: the server has no Hugging Face token"},
		{name: "empty data", data: " ", code: scu.CodeInvalid, says: "train_data_path"},
		{name: "binary data", data: "abc\x00\x01\x02def", code: scu.CodeInvalid, says: "train_data_path"},
		{name: "Latin-1 data", data: "first line\nna\xefve", code: scu.CodeInvalid, says: "line 2"},
		{name: "a bad JSON line", data: `{"text":"good"}` + "\n" + `{"text":` + "\n", file: "d.jsonl", code: scu.CodeInvalid, says: "line 2"},
		{name: "a missing field", data: `{"text":"good"}` + "\n\n" + `{"txt":"bad"}` + "\n", file: "d.jsonl", code: scu.CodeInvalid, says: "line 3"},
		{name: "a field of another type", data: `{"text":7}` + "\n", file: "d.jsonl", code: scu.CodeInvalid, says: "line 1"},
		{name: "a prompt without a completion", data: `{"prompt":"q"}` + "\n", file: "d.jsonl", code: scu.CodeInvalid, says: "line 1"},
		{name: "a conversation without a template", model: func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "chat_template.jinja")))
		}, data: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]}` + "\n", file: "d.jsonl", code: scu.CodeInvalid, says: "line 1: the model has no chat template"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := files.Open(t.TempDir())
			must(t, err)
			p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
			cfg := scu.DefaultConfig()
			cfg.BaseModel = models.BuiltIn
			if c.model != nil {
				cfg.BaseModel = modelCopy(t)
				c.model(t, cfg.BaseModel)
			}
			if c.config != nil {
				c.config(&cfg)
			}
			if c.data == "" {
				c.data = strings.Repeat(text, 20)
			}
			if c.file == "" {
				c.file = "data.txt"
			}
			f, err := store.Put(t.Context(), c.file, strings.NewReader(c.data), 1<<20)
			must(t, err)
			err = scu.Join(p.Validate(t.Context(), &cfg, one(f), nil).Errors)
			if err == nil || scu.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %s: %v\nwant %s: %s", scu.CodeOf(err), err, c.code, c.says)
			}
		})
	}
}

// caseFile is data that people had trouble with.
func caseFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("data/testdata/cases", name))
	must(t, err)
	return string(b)
}

// What is odd about a job's data as a whole is told before it starts.
func TestPreflightWarns(t *testing.T) {
	rows := func(from, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"prompt":"What is %d plus %d?","completion":" It is %d."}`+"\n", from+i, from+i, 2*(from+i))
		}
		return b.String()
	}
	for _, c := range []struct {
		name, train, val string
		config           func(*scu.Config)
		want             []string // pieces of the warnings, one each
	}{
		{name: "one step from sixty rows", train: rows(0, 60), want: []string{"57 documents in 2 blocks make 1 optimiser step in all, too few to learn from: set epochs to about 100, or batch_size to 1 (now 4 blocks a step)"}},
		{name: "one step from sixty conversations", train: caseFile(t, "chat-60.jsonl"), want: []string{"57 documents in 4 blocks make 1 optimiser step in all, too few to learn from: set epochs to about 100"}},
		{name: "a number of steps is the user's", train: rows(0, 60), config: func(c *scu.Config) { n := 1; c.Steps = &n }},
		{name: "enough epochs", train: rows(0, 60), config: func(c *scu.Config) { c.Epochs = 100 }},
		{name: "rows on both sides", train: rows(0, 60), val: rows(50, 20), config: func(c *scu.Config) { c.Epochs = 100 },
			want: []string{"10 of 20 documents of the validation data are in the training data too"}},
		{name: "a row on both sides", train: rows(0, 60), val: rows(59, 1), config: func(c *scu.Config) { c.Epochs = 100 },
			want: []string{"1 of 1 document of the validation data is in the training data too"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := files.Open(t.TempDir())
			must(t, err)
			p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
			cfg := scu.DefaultConfig()
			cfg.BaseModel = models.BuiltIn
			if c.config != nil {
				c.config(&cfg)
			}
			train, err := store.Put(t.Context(), "train.jsonl", strings.NewReader(c.train), 1<<20)
			must(t, err)
			var val *scu.File
			if c.val != "" {
				f, err := store.Put(t.Context(), "val.jsonl", strings.NewReader(c.val), 1<<20)
				must(t, err)
				val = &f
			}
			v := p.Validate(t.Context(), &cfg, one(train), val)
			must(t, scu.Join(v.Errors))
			var got []string
			for _, f := range v.Warnings {
				if f.Code == "steps_few" || f.Code == "shared_documents" {
					got = append(got, f.String())
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("warnings %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("warning %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

// Python writes NaN where JSON has none; where nothing depends on it, it doesn't matter.
func TestPreflightAcceptsNaN(t *testing.T) {
	store, err := files.Open(t.TempDir())
	must(t, err)
	p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
	cfg := scu.DefaultConfig()
	cfg.BaseModel = modelCopy(t)
	rewrite(t, cfg.BaseModel, "config.json", func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"initializer_range": 0.02`), []byte(`"initializer_range": NaN`), 1)
	})
	f, err := store.Put(t.Context(), "a.txt", strings.NewReader("One short line."), 1<<20)
	must(t, err)
	if v := p.Validate(t.Context(), &cfg, one(f), nil); len(v.Errors) > 0 {
		t.Error(v.Errors)
	}
}

func TestPreflightAccepts(t *testing.T) {
	store, err := files.Open(t.TempDir())
	must(t, err)
	p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
	cfg := scu.DefaultConfig()
	cfg.BaseModel = models.BuiltIn
	f, err := store.Put(t.Context(), "a.txt", strings.NewReader("One short line."), 1<<20)
	must(t, err)
	v := p.Validate(t.Context(), &cfg, one(f), nil)
	if len(v.Errors) > 0 || v.Class != "cpu" {
		t.Fatalf("class %q, %v", v.Class, v.Errors)
	}
	if cfg.BlockSize != 512 {
		t.Errorf("the default block size became %d; the model has 512 positions", cfg.BlockSize)
	}
}

// A precision that was asked for and that the device doesn't have is taken, and told.
func TestPrecisionIsTold(t *testing.T) {
	for overrides, want := range map[string]int{
		`{}`: 0, `{"use_fp16": false, "use_4bit": false}`: 0,
		`{"half_type": "fp16"}`: 1, `{"use_fp16": true}`: 1, `{"use_4bit": true}`: 1, `{"use_fp16": true, "use_4bit": true}`: 2,
	} {
		var m map[string]any
		must(t, json.Unmarshal([]byte(overrides), &m))
		cfg := scu.DefaultConfig()
		must(t, cfg.Merge(m))
		told := func(kind devices.Kind) []scu.Finding {
			var v scu.Validation
			adviseOnPrecision(&v, kind, &cfg)
			return v.Warnings
		}
		got := told(devices.CPU(1))
		if len(got) != want {
			t.Errorf("%s: %q", overrides, got)
		}
		for _, w := range got {
			if !strings.Contains(w.Message, "has no effect: jobs run on the CPU") {
				t.Error(w)
			}
		}
		gpu := devices.CPU(1)
		gpu.Half, gpu.NF4 = kernels.BF16, true
		if got := told(gpu); len(got) != 0 {
			t.Errorf("%s: %q on a device that does it", overrides, got)
		}
	}
}
