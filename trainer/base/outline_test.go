package base

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/hub"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// oneModel is a Hub with the model owner/model; sent counts the bytes of weights that it sent.
func oneModel(t *testing.T, files map[string][]byte) (f *Finder, sent *atomic.Int64) {
	t.Helper()
	sent = new(atomic.Int64)
	commit := strings.Repeat("c0", 20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		w.Header().Set("X-Repo-Commit", commit)
		content, ok := files[name]
		if !ok || !strings.HasPrefix(r.URL.Path, "/owner/model/resolve/") {
			w.Header().Set("X-Error-Code", "EntryNotFound")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf("%q", name)) // no hash: says nothing of the content
		if name == safetensors.SingleFile {
			w = countingWriter{w, sent}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(server.Close)
	return &Finder{Hub: &hub.Client{Endpoint: server.URL, CacheDir: t.TempDir(), Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}}, sent
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return w.ResponseWriter.Write(p)
}

// repository reads a model's folder, with a tokenizer that any model goes with where it has none.
func repository(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"tokenizer.json": []byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}`)}
	for _, name := range []string{"config.json", "tokenizer.json", "model.safetensors"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			files[name] = b
		}
	}
	return files
}

// A Hub model is known by its headers as it is by its files: parameters and types, of 4-bit
// checkpoints too. Opened again it asks for no weights at all.
func TestOutlineIsTheModel(t *testing.T) {
	for dir, types := range map[string]map[string]kernels.DType{
		"../../models/bookworm-2m": {"model.layers.0.self_attn.q_proj.weight": kernels.BF16},
		"../nf4/testdata/llama":    {"model.layers.0.self_attn.q_proj.weight": kernels.NF4, "model.embed_tokens.weight": kernels.BF16, "lm_head.weight": kernels.BF16},
		"../nf4/testdata/skipping": nil,
		"../nf4/testdata/gpt2":     {"transformer.h.0.attn.c_attn.weight": kernels.NF4},
	} {
		f, sent := oneModel(t, repository(t, dir))
		m, err := f.Outline(t.Context(), "owner/model")
		if err != nil {
			t.Fatal(dir, err)
		}
		files, err := safetensors.OpenModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer files.Close()
		got, want := m.Types(), model.Types(m.Spec, files)
		for _, name := range files.Names() {
			if got(name) != want(name) {
				t.Errorf("%s: %s is %v by its header, %v by its file", dir, name, got(name), want(name))
			}
		}
		for name, dtype := range types {
			if got(name) != dtype {
				t.Errorf("%s: %s is %v, want %v", dir, name, got(name), dtype)
			}
		}
		if n := sent.Swap(0); n == 0 || n > 256<<10 {
			t.Errorf("%s: %d bytes of weights were sent", dir, n)
		}
		m.Close()
		if m, err = f.Outline(t.Context(), "owner/model"); err != nil || sent.Load() != 0 {
			t.Errorf("%s: the second time %d bytes of weights were sent, %v", dir, sent.Load(), err)
		}
		m.Close()
		if m, err = f.Describe(t.Context(), "owner/model"); err != nil || m.Weights != nil {
			t.Errorf("%s: described with weights, %v", dir, err)
		}
		m.Close()
	}
}

// What can't be trained is refused before its weights are fetched.
func TestOutlineRefuses(t *testing.T) {
	edited := func(file, old, new string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			changed := bytes.ReplaceAll(files[file], []byte(old), []byte(new))
			if bytes.Equal(changed, files[file]) {
				t.Fatalf("%s has no %s", file, old)
			}
			files[file] = changed
		}
	}
	for name, c := range map[string]struct {
		dir    string
		change func(files map[string][]byte)
		code   scu.Code
		says   string
	}{
		"another architecture": {"../../models/bookworm-2m", edited("config.json", `"llama"`, `"mamba"`), scu.CodeUnsupported, `model_type "mamba"`},
		"the weights of another": {"../../models/bookworm-2m", func(f map[string][]byte) {
			f["model.safetensors"] = repository(t, "../nf4/testdata/gpt2")["model.safetensors"]
		}, scu.CodeInvalid, "the checkpoint has no tensor"},
		"another shape":           {"../../models/bookworm-2m", edited("config.json", `"intermediate_size": 512`, `"intermediate_size": 400`), scu.CodeInvalid, "has shape"},
		"not safetensors":         {"../../models/bookworm-2m", func(f map[string][]byte) { f["model.safetensors"] = bytes.Repeat([]byte("pickle"), 1000) }, scu.CodeInvalid, "not a safetensors file"},
		"no safetensors":          {"../../models/bookworm-2m", func(f map[string][]byte) { delete(f, "model.safetensors") }, scu.CodeUnsupported, "no safetensors weights"},
		"another type":            {"../../models/bookworm-2m", edited("model.safetensors", `"BF16"`, `"U16" `), scu.CodeUnsupported, "has type U16"},
		"4 bits in fp4":           {"../nf4/testdata/llama", edited("model.safetensors", "bitsandbytes__nf4", "bitsandbytes__fp4"), scu.CodeUnsupported, "bitsandbytes' fp4"},
		"config.json says fp4":    {"../nf4/testdata/llama", edited("config.json", `"nf4"`, `"fp4"`), scu.CodeUnsupported, `bnb_4bit_quant_type = "fp4"`},
		"GPTQ":                    {"../nf4/testdata/llama", edited("config.json", `"bitsandbytes"`, `"gptq"`), scu.CodeUnsupported, `quant_method = "gptq"`},
		"8 bits":                  {"../nf4/testdata/llama", edited("config.json", `"load_in_8bit": false`, `"load_in_8bit": true`), scu.CodeUnsupported, "load_in_8bit"},
		"4 bits without scales":   {"../nf4/testdata/llama", edited("model.safetensors", "weight.absmax", "weight.absmix"), scu.CodeInvalid, "absmax, which the 4-bit weight needs"},
		"4 bits of other weights": {"../nf4/testdata/llama", edited("config.json", `"intermediate_size": 56`, `"intermediate_size": 64`), scu.CodeInvalid, "bytes in shape"},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(repository(t, c.dir))
			c.change(files)
			f, sent := oneModel(t, files)
			_, err := f.Outline(t.Context(), "owner/model")
			if err == nil || scu.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || scu.AsError(err).Field != "base_model" {
				t.Fatalf("got %s: %v\nwant %s: base_model: %s", scu.CodeOf(err), err, c.code, c.says)
			}
			if n := sent.Load(); n > 256<<10 {
				t.Errorf("%d bytes of weights were sent", n)
			}
		})
	}
}

// A revision is asked for by its name, and the commit that it is at is known.
func TestRevision(t *testing.T) {
	var asked atomic.Value
	files := repository(t, "../../models/bookworm-2m")
	commit := strings.Repeat("c0", 20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.Path, "/owner/model/resolve/")
		revision, name, _ := strings.Cut(rest, "/")
		if !ok || revision != "v1" && revision != commit {
			w.Header().Set("X-Error-Code", "RevisionNotFound")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		asked.CompareAndSwap(nil, revision)
		w.Header().Set("X-Repo-Commit", commit)
		content, ok := files[name]
		if !ok {
			w.Header().Set("X-Error-Code", "EntryNotFound")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf("%q", name))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(server.Close)
	f := &Finder{Hub: &hub.Client{Endpoint: server.URL, CacheDir: t.TempDir(), Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}}

	m, err := f.Outline(t.Context(), "owner/model@v1")
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if m.Commit != commit || asked.Load() != "v1" {
		t.Errorf("commit %q of revision %q", m.Commit, asked.Load())
	}
	if dir, err := f.Locate(t.Context(), "owner/model@"+commit); err != nil || filepath.Base(dir) != commit {
		t.Errorf("by its commit in %q: %v", dir, err)
	}
	if _, err := f.Outline(t.Context(), "owner/model@v2"); scu.CodeOf(err) != scu.CodeInvalid || !strings.Contains(err.Error(), "owner/model at v2") {
		t.Errorf("a revision that isn't there: %v", err)
	}
	if _, err := f.Outline(t.Context(), "owner/model@../x"); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("a revision that is a path: %v", err)
	}
}
