package model_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/reference"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// Checkpoints that Transformers saved in 4 bits with bitsandbytes: with quantised
// scales; with plain ones, codes stored as bfloat16, some layers skipped and the
// head not; and GPT-2's Conv1D, which are quantised transposed.
var stored = []string{"llama", "skipping", "gpt2"}

const storedFolder = "../nf4/testdata"

// Each quantised weight is what bitsandbytes' dequantize_4bit gives, and the
// logits are Transformers'.
func TestStoredNF4(t *testing.T) {
	for _, name := range stored {
		dir := filepath.Join(storedFolder, name)
		spec, files := openModel(t, dir)
		must(t, model.CheckFiles(spec, files))
		want, err := safetensors.Open(filepath.Join(dir, "want.safetensors"))
		must(t, err)
		defer want.Close()

		quantised := 0
		for _, tensor := range files.Names() {
			if !nf4.IsStored(files.Tensor, tensor) {
				continue
			}
			quantised++
			w, _ := want.Tensor(tensor)
			weight, _ := files.Tensor(tensor)
			s, err := nf4.Open(files.Tensor, weight, w.Shape[0], w.Shape[1])
			must(t, err)
			q, err := s.Read()
			must(t, err)
			got := make([]float32, q.N)
			for i := range got {
				got[i] = q.At(i)
			}
			rounded, err := safetensors.FromFloat32As(w.DType, tensor, w.Shape, got)
			must(t, err)
			if !slices.Equal(rounded.Data, w.Data) {
				t.Errorf("%s: %s isn't what bitsandbytes reads", name, tensor)
			}
		}
		if all := len(want.Names()) - 2; quantised != all { // without ids and logits
			t.Errorf("%s: %d weights in NF4, want %d", name, quantised, all)
		}

		ids, _ := want.Tensor("ids")
		tokens, ok := safetensors.View[int32](ids)
		if !ok {
			t.Fatal("the ids aren't int32")
		}
		expected, _ := want.Tensor("logits")
		logits, err := expected.Float32()
		must(t, err)
		for device, dev := range devices(t) {
			compare(t, name+" on "+device, logitsOf(t, dev, spec, files, tokens), logits, 2e-6)
		}
	}
}

// The weights that InNF4 quantises are those that bitsandbytes would store: the
// stored checkpoint of the same model gives the same logits, bit for bit.
func TestInNF4(t *testing.T) {
	dir := "../testdata/goldens/llama_nf4/model"
	spec, files := openModel(t, dir)
	tokens := []int32{5, 17, 3, 60, 42, 7, 7, 120}
	var tensors []safetensors.Tensor
	for _, name := range files.Names() {
		w, _ := files.Tensor(name)
		if strings.Contains(name, "_proj.") {
			m, err := nf4.Quantize(w)
			must(t, err)
			q := m.Quantized()
			v := make([]float32, q.N)
			for i := range v {
				v[i] = q.At(i)
			}
			w = safetensors.FromFloat32(name, w.Shape, v)
		}
		tensors = append(tensors, w)
	}
	widened := modelOf(t, tensors)
	for device, dev := range devices(t) {
		compare(t, device, logitsOf(t, dev, spec, files, tokens, model.InNF4(true)), logitsOf(t, dev, spec, widened, tokens), 0)
		if plain := logitsOf(t, dev, spec, files, tokens, model.InNF4(false)); slices.Equal(plain, logitsOf(t, dev, spec, widened, tokens)) {
			t.Errorf("%s: InNF4(false) quantises", device)
		}
	}
}

// Stored weights stay as they are under InNF4, and Conv1D is left alone.
func TestInNF4Leaves(t *testing.T) {
	tokens := []int32{5, 17, 3, 60, 42, 7, 7, 33}
	for _, dir := range []string{storedFolder + "/llama", storedFolder + "/gpt2", "../testdata/goldens/gpt2/model"} {
		spec, files := openModel(t, dir)
		dev := reference.New(kernels.F32)
		compare(t, dir, logitsOf(t, dev, spec, files, tokens, model.InNF4(true)), logitsOf(t, dev, spec, files, tokens), 0)
	}
}

func TestLoadRefusesBadNF4(t *testing.T) {
	dir := storedFolder + "/llama"
	spec, files := openModel(t, dir)
	const broken = "model.layers.1.mlp.up_proj.weight"
	change := func(change func(w safetensors.Tensor) (safetensors.Tensor, bool)) *safetensors.Model {
		var tensors []safetensors.Tensor
		for _, name := range files.Names() {
			w, _ := files.Tensor(name)
			if w, keep := change(w); keep {
				tensors = append(tensors, w)
			}
		}
		return modelOf(t, tensors)
	}
	cases := map[string]*safetensors.Model{
		"tensor " + broken + " has 1119 bytes": change(func(w safetensors.Tensor) (safetensors.Tensor, bool) {
			if w.Name == broken {
				w.Data, w.Shape = w.Data[1:], []int{1119, 1}
			}
			return w, true
		}),
		"no tensor " + broken + ".nested_absmax": change(func(w safetensors.Tensor) (safetensors.Tensor, bool) {
			return w, w.Name != broken+".nested_absmax"
		}),
		"tensor " + broken + " has shape [1120 1]; config.json says [56 40]": change(func(w safetensors.Tensor) (safetensors.Tensor, bool) {
			return w, w.Name != broken+".quant_state.bitsandbytes__nf4"
		}),
		"is stored in bitsandbytes' fp4": change(func(w safetensors.Tensor) (safetensors.Tensor, bool) {
			w.Name = strings.Replace(w.Name, "__nf4", "__fp4", 1)
			return w, true
		}),
	}
	for want, files := range cases {
		if err := model.CheckFiles(spec, files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckFiles: error %v; want one with %q", err, want)
		}
		dev := reference.New(kernels.F32)
		if _, err := model.Load(dev, spec, files, 8); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load: error %v; want one with %q", err, want)
		}
		dev.Close()
	}
}

func TestQuantizationConfig(t *testing.T) {
	const llama = `{"model_type":"llama","vocab_size":8,"hidden_size":8,"num_hidden_layers":1,"num_attention_heads":1,"intermediate_size":8,"max_position_embeddings":8,"quantization_config":`
	good := map[string]int{ // notes
		`null`: 0,
		`{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_quant_type":"nf4","bnb_4bit_use_double_quant":true}`:                                                  0,
		`{"_load_in_4bit":true,"_load_in_8bit":false,"bnb_4bit_quant_type":"nf4","bnb_4bit_compute_dtype":"bfloat16","llm_int8_threshold":6.0}`:                             1,
		`{"load_in_4bit":true,"bnb_4bit_quant_type":"nf4","bnb_4bit_quant_storage":"bfloat16","llm_int8_skip_modules":["lm_head"],"llm_int8_enable_fp32_cpu_offload":true}`: 0,
	}
	for text, notes := range good {
		spec, err := model.ParseSpec([]byte(llama + text + "}"))
		if err != nil || len(spec.Notes) != notes {
			t.Errorf("%s: error %v, notes %v; want %d notes", text, err, spec, notes)
		}
	}
	bad := map[string]string{
		`[]`:                      `quantization_config is not an object`,
		`{"quant_method":"gptq"}`: `quantization_config.quant_method = "gptq" is not supported`,
		`{"quant_method":4}`:      `quantization_config.quant_method is not a string`,
		`{"load_in_8bit":true}`:   `quantization_config.load_in_8bit = true is not supported`,
		`{"_load_in_8bit":true}`:  `quantization_config._load_in_8bit = true is not supported`,
		`{"load_in_4bit":"true"}`: `quantization_config.load_in_4bit is true; want true or false`,
		`{"bits":4}`:              `quantization_config.load_in_4bit is not set`,
		`{"load_in_4bit":true}`:   `quantization_config.bnb_4bit_quant_type = "fp4" is not supported`,
		`{"load_in_4bit":true,"bnb_4bit_quant_type":"nf4","rotate":1}`: `quantization_config.rotate = 1 is not supported`,
	}
	for text, want := range bad {
		_, err := model.ParseSpec([]byte(llama + text + "}"))
		if err == nil || !strings.Contains(err.Error(), "config.json: "+want) {
			t.Errorf("%s: error %v; want %q", text, err, want)
		}
	}
}

func openModel(t *testing.T, dir string) (*model.Spec, *safetensors.Model) {
	t.Helper()
	spec, err := model.ReadSpec(dir)
	must(t, err)
	files, err := safetensors.OpenModel(dir)
	must(t, err)
	t.Cleanup(func() { files.Close() })
	return spec, files
}

// modelOf is a checkpoint of the tensors.
func modelOf(t *testing.T, tensors []safetensors.Tensor) *safetensors.Model {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, safetensors.SingleFile))
	must(t, err)
	must(t, safetensors.Write(f, nil, tensors))
	must(t, f.Close())
	files, err := safetensors.OpenModel(dir)
	must(t, err)
	t.Cleanup(func() { files.Close() })
	return files
}

func devices(t *testing.T) map[string]kernels.Device {
	fast, err := cpu.New(2)
	must(t, err)
	reference := reference.New(kernels.F32)
	t.Cleanup(func() { fast.Close(); reference.Close() })
	return map[string]kernels.Device{"cpu": fast, "reference": reference}
}

// logitsOf loads a model and gives the logits after each token.
func logitsOf(t *testing.T, dev kernels.Device, spec *model.Spec, files *safetensors.Model, ids []int32, options ...model.Option) []float32 {
	t.Helper()
	weights, err := model.Load(dev, spec, files, len(ids), options...)
	must(t, err)
	defer weights.Close()
	dec := weights.With(nil)
	w, err := dec.NewWorkspace(model.WorkspaceOptions{Batch: 1, Len: len(ids)})
	must(t, err)
	defer w.Close()
	rows, targets := make([]int, len(ids)), make([]int32, len(ids))
	for i := range rows {
		rows[i], targets[i] = i, -1
	}
	logits, err := dec.Logits(context.Background(), w, model.Batch{Rows: 1, Len: len(ids), IDs: ids, Targets: targets}, rows)
	must(t, err)
	return slices.Clone(logits)
}

// compare allows an error of tol times the largest value.
func compare(t *testing.T, name string, got, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d logits, want %d", name, len(got), len(want))
		return
	}
	var largest, worst float64
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		worst = max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	if !(worst <= tol*largest) {
		t.Errorf("%s: logits are off by %.2g of the largest, allowed %.2g", name, worst/largest, tol)
	}
}
