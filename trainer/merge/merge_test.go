package merge

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

const goldens = "../testdata/goldens"

var tokens = []int32{5, 17, 3, 99, 42, 7, 7, 120, 33, 64, 12, 100}

// The merged model alone gives the logits of the base with the adapter beside it,
// whatever way the family stores its weights, in one file and in shards.
func TestMergedLogits(t *testing.T) {
	for _, family := range []string{"llama", "gpt2", "gpt_neox", "gpt_neo", "phi3", "gemma2", "blenderbot"} {
		t.Run(family, func(t *testing.T) {
			dev := device(t)
			folder := filepath.Join(goldens, family)
			adapter := random(t, folder)
			want := logits(t, dev, folder+"/model", adapter)
			if slices.Equal(want, logits(t, dev, folder+"/model", "")) {
				t.Fatal("the adapter makes no difference")
			}
			for _, shard := range []int64{0, 20_000} {
				out := filepath.Join(t.TempDir(), "merged")
				r, err := Run(context.Background(), dev, Options{Base: folder + "/model", Adapter: adapter, Out: out, ShardBytes: shard})
				must(t, err)
				if (r.Files > 1) != (shard > 0) || r.Modules == 0 || r.Tensors == 0 {
					t.Errorf("shards of %d: %+v", shard, r)
				}
				compare(t, logits(t, dev, out, ""), want, 2e-5)
				same(t, filepath.Join(out, "config.json"), filepath.Join(folder, "model/config.json"))
			}
		})
	}
}

// A base in BF16 or F16 stays so: each merged weight is the nearest to W + scale B A.
func TestMergedTypes(t *testing.T) {
	dev := device(t)
	folder := filepath.Join(goldens, "llama")
	for _, dtype := range []safetensors.DType{safetensors.BF16, safetensors.F16} {
		base := converted(t, folder+"/model", dtype)
		out := filepath.Join(t.TempDir(), "merged")
		_, err := Run(context.Background(), dev, Options{Base: base, Adapter: folder + "/adapter_final", Out: out})
		must(t, err)
		modules, param := read(t, base, folder+"/adapter_final")
		before, after := open(t, base), open(t, out)
		for _, name := range before.Names() {
			was, _ := before.Tensor(name)
			is, ok := after.Tensor(name)
			if !ok || is.DType != dtype || !slices.Equal(is.Shape, was.Shape) {
				t.Fatalf("%v became %v", was, is)
			}
			i := slices.IndexFunc(modules, func(m lora.Module) bool { return m.Path+".weight" == name })
			if i < 0 {
				if !slices.Equal(is.Data, was.Data) {
					t.Errorf("%s changed, though no adapter touches it", name)
				}
				continue
			}
			w, err := was.Float32()
			must(t, err)
			got, err := is.Float32()
			must(t, err)
			m := modules[i]
			for o := range m.Out {
				for j := range m.In {
					sum := float64(w[o*m.In+j])
					for r := range m.R {
						sum += float64(m.Scale) * float64(param[m.BOff+o*m.R+r]) * float64(param[m.AOff+r*m.In+j])
					}
					nearest, err := safetensors.FromFloat32As(dtype, "x", []int{1}, []float32{float32(sum)})
					must(t, err)
					want, err := nearest.Float32()
					must(t, err)
					// The product in F32 may fall on the other side of the middle.
					if g := got[o*m.In+j]; g != want[0] && math.Abs(float64(g)-sum) > math.Abs(float64(want[0])-sum)*1.001 {
						t.Fatalf("%s[%d,%d] = %v, want %v for %v", name, o, j, g, want[0], sum)
					}
				}
			}
		}
	}
}

// A checkpoint that was saved without the outer module keeps its names.
func TestShortNames(t *testing.T) {
	dev := device(t)
	folder := filepath.Join(goldens, "gpt2")
	adapter := folder + "/adapter_final"
	base := rewritten(t, folder+"/model", func(x safetensors.Tensor) safetensors.Tensor {
		x.Name = strings.TrimPrefix(x.Name, "transformer.")
		return x
	})
	out := filepath.Join(t.TempDir(), "merged")
	_, err := Run(context.Background(), dev, Options{Base: base, Adapter: adapter, Out: out})
	must(t, err)
	if !slices.Equal(open(t, out).Names(), open(t, base).Names()) {
		t.Error("the names changed")
	}
	compare(t, logits(t, dev, out, ""), logits(t, dev, folder+"/model", adapter), 2e-5)
}

// An adapter on the output head is merged into it. Where the head was the
// embedding, the merged model has one of its own, and the embedding stays.
func TestMergedHead(t *testing.T) {
	dev := device(t)
	for _, family := range []string{"llama", "gpt_neox", "gpt2", "gemma2"} { // the last two are tied
		t.Run(family, func(t *testing.T) {
			mergesHead(t, dev, filepath.Join(goldens, family, "model"))
		})
	}
	t.Run("gpt2, its one weight under the head's name", func(t *testing.T) {
		mergesHead(t, dev, rewritten(t, goldens+"/gpt2/model", func(x safetensors.Tensor) safetensors.Tensor {
			if x.Name == "transformer.wte.weight" {
				x.Name = "lm_head.weight"
			}
			return x
		}))
	})
}

func mergesHead(t *testing.T, dev kernels.Device, base string) {
	t.Helper()
	adapter := newAdapter(t, base, "lm_head")
	out := filepath.Join(t.TempDir(), "merged")
	_, err := Run(context.Background(), dev, Options{Base: base, Adapter: adapter, Out: out})
	must(t, err)
	compare(t, logits(t, dev, out, ""), logits(t, dev, base, adapter), 2e-5)
	spec, err := model.ReadSpec(base)
	must(t, err)
	was, _ := spec.Tensor(open(t, base), spec.Embed)
	is, ok := open(t, out).Tensor(spec.Embed)
	if !ok || !slices.Equal(is.Data, was.Data) {
		t.Error("the embedding changed")
	}
}

// newAdapter writes an adapter on modules of those names.
func newAdapter(t *testing.T, base string, targets ...string) string {
	t.Helper()
	spec, err := model.ReadSpec(base)
	must(t, err)
	cfg := scu.LoRAConfig{R: 3, Alpha: 6, TargetModules: targets}
	modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, cfg)
	must(t, err)
	r := rand.New(rand.NewPCG(3, 4))
	param := make([]float32, lora.Count(modules))
	for i := range param {
		param[i] = float32(r.NormFloat64()) * 0.1
	}
	dir := t.TempDir()
	weights, err := lora.Weights(modules, param)
	must(t, err)
	config, err := lora.PEFTConfig(base, cfg.TargetModules, modules, cfg)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, lora.WeightsFile), weights, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, lora.ConfigFile), config, 0o600))
	return dir
}

// A base that bitsandbytes stored in 4 bits becomes, with its adapter, an ordinary one in the type
// that it had before: what the adapter was trained over. GPT-2's weights lie the other way round
// in 4 bits.
func TestMergedFrom4Bits(t *testing.T) {
	dev := device(t)
	for family, tolerance := range map[string]float64{"llama": 1e-2, "gpt2": 1e-3, "skipping": 2e-5} { // BF16, F16, F32
		t.Run(family, func(t *testing.T) {
			stored := filepath.Join("../nf4/testdata", family)
			adapter := newAdapter(t, stored, "all-linear")
			for _, shard := range []int64{0, 20_000} {
				out := filepath.Join(t.TempDir(), "merged")
				_, err := Run(context.Background(), dev, Options{Base: stored, Adapter: adapter, Out: out, ShardBytes: shard})
				must(t, err)
				compare(t, logits(t, dev, out, ""), logits(t, dev, stored, adapter), tolerance)
				for _, name := range open(t, out).Names() {
					if x, _ := open(t, out).Tensor(name); x.DType == safetensors.U8 || strings.Contains(name, ".weight.") {
						t.Errorf("%s of %s is there yet", name, x.DType)
					}
				}
				config, err := os.ReadFile(filepath.Join(out, "config.json"))
				must(t, err)
				if strings.Contains(string(config), "quantization_config") {
					t.Error("config.json says that it is quantised")
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	dev := device(t)
	llama := filepath.Join(goldens, "llama")
	adapter := llama + "/adapter_final"
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("mine"), 0o600))
	huge := rewritten(t, llama+"/model", func(x safetensors.Tensor) safetensors.Tensor {
		v, err := x.Float32()
		must(t, err)
		if len(x.Shape) == 2 {
			for i := range v {
				v[i] = 65504
			}
		}
		x, err = safetensors.FromFloat32As(safetensors.F16, x.Name, x.Shape, v)
		must(t, err)
		return x
	})
	for _, c := range []struct {
		name, base, adapter, out string
		code                     scu.Code
		field                    string
	}{
		{"no base", t.TempDir(), adapter, "", scu.CodeInvalid, "base_model"},
		{"no adapter", llama + "/model", t.TempDir(), "", scu.CodeInvalid, "adapter"},
		{"another model's adapter", llama + "/model", filepath.Join(goldens, "gpt2/adapter_final"), "", scu.CodeInvalid, "lora.target_modules[0]"},
		{"a folder with something in it", llama + "/model", adapter, full, scu.CodeConflict, "out"},
		{"a file", llama + "/model", adapter, file, scu.CodeInvalid, "out"},
		{"nowhere", llama + "/model", adapter, filepath.Join(t.TempDir(), "a/b"), scu.CodeInvalid, "out"},
		{"the base itself", llama + "/model", adapter, llama + "/model", scu.CodeConflict, "out"},
		{"weights beyond F16", huge, rewrittenAdapter(t, llama, func() float32 { return 100 }), "", scu.CodeInvalid, "adapter"},
	} {
		out := c.out
		if out == "" {
			out = filepath.Join(t.TempDir(), "merged")
		}
		_, err := Run(context.Background(), dev, Options{Base: c.base, Adapter: c.adapter, Out: out})
		if e := scu.CodeOf(err); e != c.code || scu.AsError(err).Field != c.field {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.out == "" {
			if left, _ := os.ReadDir(filepath.Dir(out)); len(left) > 0 {
				t.Errorf("%s: left %v behind", c.name, left)
			}
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("the file that was in the way holds %q, %v", b, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ended, dev, Options{Base: llama + "/model", Adapter: adapter, Out: filepath.Join(t.TempDir(), "merged")}); err == nil {
		t.Error("merged though cancelled")
	}
}

// random writes a reference run's adapter with weights that matter.
func random(t *testing.T, folder string) string {
	r := rand.New(rand.NewPCG(1, 2))
	return rewrittenAdapter(t, folder, func() float32 { return float32(r.NormFloat64()) * 0.1 })
}

func rewrittenAdapter(t *testing.T, folder string, weight func() float32) string {
	t.Helper()
	modules, param := read(t, folder+"/model", folder+"/adapter_final")
	for i := range param {
		param[i] = weight()
	}
	weights, err := lora.Weights(modules, param)
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, lora.WeightsFile), weights, 0o600))
	copied(t, dir, folder+"/adapter_final", lora.ConfigFile)
	return dir
}

// rewritten writes a model with each tensor changed, and extra ones.
func rewritten(t *testing.T, dir string, change func(safetensors.Tensor) safetensors.Tensor, extra ...*[]safetensors.Tensor) string {
	t.Helper()
	files := open(t, dir)
	var tensors []safetensors.Tensor
	for _, name := range files.Names() {
		x, _ := files.Tensor(name)
		tensors = append(tensors, change(x))
	}
	for _, e := range extra {
		tensors = append(tensors, *e...)
	}
	out := t.TempDir()
	must(t, writeFile(filepath.Join(out, safetensors.SingleFile), tensors))
	copied(t, out, dir, "config.json")
	return out
}

func converted(t *testing.T, dir string, dtype safetensors.DType) string {
	return rewritten(t, dir, func(x safetensors.Tensor) safetensors.Tensor {
		v, err := x.Float32()
		must(t, err)
		x, err = safetensors.FromFloat32As(dtype, x.Name, x.Shape, v)
		must(t, err)
		return x
	})
}

func copied(t *testing.T, to, from, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(to, name), b, 0o600))
}

func same(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	must(t, err)
	y, err := os.ReadFile(b)
	must(t, err)
	if string(x) != string(y) {
		t.Errorf("%s differs from %s", a, b)
	}
}

func open(t *testing.T, dir string) *safetensors.Model {
	t.Helper()
	files, err := safetensors.OpenModel(dir)
	must(t, err)
	t.Cleanup(func() { files.Close() })
	return files
}

func read(t *testing.T, base, adapter string) ([]lora.Module, []float32) {
	t.Helper()
	spec, err := model.ReadSpec(base)
	must(t, err)
	modules, param, err := lora.Read(adapter, spec.Targets(), spec.DefaultTargets)
	must(t, err)
	return modules, param
}

// logits are those of all positions of the tokens.
func logits(t *testing.T, dev kernels.Device, dir, adapter string) []float32 {
	t.Helper()
	spec, err := model.ReadSpec(dir)
	must(t, err)
	weights, err := model.Load(dev, spec, open(t, dir), len(tokens))
	must(t, err)
	defer weights.Close()
	dec := weights.With(nil)
	if adapter != "" {
		a, err := lora.Load(dev, adapter, spec.Targets(), spec.DefaultTargets)
		must(t, err)
		defer a.Close()
		dec = weights.With(a)
	}
	w, err := dec.NewWorkspace(model.WorkspaceOptions{Batch: 1, Len: len(tokens)})
	must(t, err)
	defer w.Close()
	rows, ids := make([]int, len(tokens)), slices.Clone(tokens)
	for i := range rows {
		rows[i] = i
		ids[i] %= int32(spec.Vocab)
	}
	out, err := dec.Logits(context.Background(), w, model.Batch{Rows: 1, Len: len(tokens), IDs: ids, Targets: slices.Repeat([]int32{-1}, len(tokens))}, rows)
	must(t, err)
	return out
}

// compare asks for the same numbers, relative to the largest one.
func compare(t *testing.T, got, want []float32, tolerance float64) {
	t.Helper()
	var largest, worst float64
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		worst = max(worst, math.Abs(float64(got[i]-want[i])))
	}
	if !(worst <= tolerance*largest) || largest == 0 {
		t.Errorf("logits differ by %v of at most %v", worst, largest)
	}
}

func device(t *testing.T) kernels.Device {
	t.Helper()
	dev, err := cpu.New(2)
	must(t, err)
	t.Cleanup(func() { dev.Close() })
	return dev
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An adapter that says it was trained on other weights isn't merged.
func TestAnotherBase(t *testing.T) {
	dev := device(t)
	folder := filepath.Join(goldens, "llama")
	adapter := t.TempDir()
	must(t, os.CopyFS(adapter, os.DirFS(folder+"/adapter_final")))
	for fingerprint, code := range map[string]scu.Code{
		base.WeightsID(open(t, folder+"/model")):                      "",
		base.WeightsID(open(t, filepath.Join(goldens, "gpt2/model"))): scu.CodeInvalid,
	} {
		training := `{"base_model": "owner/llama", "base_fingerprint": "` + fingerprint + `"}`
		must(t, os.WriteFile(filepath.Join(adapter, base.TrainingFile), []byte(training), 0o600))
		_, err := Run(context.Background(), dev, Options{Base: folder + "/model", Adapter: adapter, Out: filepath.Join(t.TempDir(), "out")})
		if scu.CodeOf(err) != code || err != nil && !strings.Contains(err.Error(), "trained on another base") {
			t.Errorf("fingerprint %s: %v", fingerprint, err)
		}
	}
}
