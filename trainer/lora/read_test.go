package lora_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/lora"
)

// Configs that PEFT writes are read whatever fields its versions add; what would
// change the result is refused by name, and lies about the rank take no memory.
func TestReadConfig(t *testing.T) {
	for _, c := range []struct {
		text string
		code scu.Code // "" where it is read
		says string
	}{
		{`{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"]}`, "", ""},
		{`{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":"q_proj","init_lora_weights":"gaussian","bias":"none","exclude_modules":[],"new":{"a":1}}`, "", ""},
		{`{"peft_type":"IA3","r":4}`, scu.CodeUnsupported, "IA3"},
		{`{"peft_type":"LORA","r":4,"use_dora":true}`, scu.CodeUnsupported, "use_dora"},
		{`{"peft_type":"LORA","r":4,"lora_alpha":8.5,"alpha_pattern":{"q_proj":0.25},"target_modules":["q_proj"]}`, "", ""},
		{`{"peft_type":"LORA","r":4,"exclude_modules":["k_proj"],"target_modules":["q_proj"]}`, "", ""},
		{`{"peft_type":"LORA","r":4,"exclude_modules":7,"target_modules":["q_proj"]}`, scu.CodeInvalid, "exclude_modules"},
		{`{"peft_type":"LORA","r":4,"init_lora_weights":"eva","target_modules":["q_proj"]}`, "", ""},
		{`{"peft_type":"LORA","r":4,"init_lora_weights":"pissa_niter_16","target_modules":["q_proj"]}`, scu.CodeUnsupported, `init_lora_weights is "pissa_niter_16", which changes the base's own weights`},
		{`{"peft_type":"LORA","r":4,"init_lora_weights":"olora","target_modules":["q_proj"]}`, scu.CodeUnsupported, "olora"},
		{`{"peft_type":"LORA","r":4,"init_lora_weights":"corda","target_modules":["q_proj"]}`, scu.CodeUnsupported, "corda"},
		{`{"peft_type":"LORA","r":4,"init_lora_weights":"loftq","target_modules":["q_proj"]}`, scu.CodeUnsupported, "loftq"},
		{`{"peft_type":"LORA","r":4,"init_lora_weights":"lora_ga","target_modules":["q_proj"]}`, scu.CodeUnsupported, "lora_ga"},
		{`{"peft_type":"LORA","r":4,"bias":"all"}`, scu.CodeUnsupported, "bias"},
		{`{"peft_type":"LORA","r":4,"modules_to_save":["lm_head"]}`, scu.CodeUnsupported, "modules_to_save"},
		{`{"peft_type":"LORA","r":4,"layers_to_transform":"all","target_modules":["q_proj"]}`, scu.CodeInvalid, "layers_to_transform"},
		{`{"peft_type":"LORA","r":4,"layers_pattern":"blocks","target_modules":["q_proj"]}`, scu.CodeUnsupported, "layers_pattern"},
		{`{"peft_type":"LORA","r":4,"target_parameters":["experts"]}`, scu.CodeUnsupported, "target_parameters"},
		{`{"peft_type":"LORA","r":4,"target_modules":7}`, scu.CodeInvalid, "target_modules"},
		{`{"peft_type":"LORA","r":4}`, scu.CodeInvalid, "target_modules"},
		{`{"peft_type":"LORA","r":0,"target_modules":["q_proj"]}`, scu.CodeInvalid, "r is 0"},
		{`{"peft_type":"LORA","r":-1,"target_modules":["q_proj"]}`, scu.CodeInvalid, "r is -1"},
		{`{"peft_type":"LORA","r":4,"rank_pattern":{"q_proj":0},"target_modules":["q_proj"]}`, scu.CodeInvalid, "q_proj"},
		{`{"peft_type":"LORA","r":"4"}`, scu.CodeInvalid, "r"},
		{`[]`, scu.CodeInvalid, ""},
		{``, scu.CodeInvalid, ""},
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, lora.ConfigFile), []byte(c.text), 0o600))
		_, _, err := lora.ReadConfig(dir)
		if scu.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
}

// A rank that the weights don't have is refused before memory is taken for it.
func TestReadWeightsOfALyingRank(t *testing.T) {
	cfg := scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{"q_proj"}}
	ms := plan(t, cfg)
	weights, err := lora.Weights(ms, lora.Init(ms, 1))
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, lora.WeightsFile), weights, 0o600))
	cfg.R = 1 << 50
	if _, err := lora.ReadWeights(dir, plan(t, cfg)); err == nil || !strings.Contains(err.Error(), "shape") {
		t.Errorf("rank 2^50: %v", err)
	}
}

// Alphas that other programs wrote as 8.0, 8.5 or in a pattern of floats scale as in
// PEFT: by alpha/r.
func TestFloatAlphas(t *testing.T) {
	ms := plan(t, scu.LoRAConfig{R: 4, Alpha: 8, TargetModules: []string{"q_proj", "k_proj"}})
	for file, want := range map[string][2]float32{ // scales of q_proj and k_proj
		"adapter-alpha-float.json":         {2, 2},
		"adapter-alpha-fraction.json":      {2.125, 2.125},
		"adapter-alpha-pattern-float.json": {1, 2},
	} {
		dir := written(t, scu.LoRAConfig{R: 4, Alpha: 8, TargetModules: []string{"q_proj", "k_proj"}}, ms, lora.Init(ms, 1))
		path := filepath.Join(dir, lora.ConfigFile)
		var config map[string]json.RawMessage
		b, err := os.ReadFile(path)
		must(t, err)
		must(t, json.Unmarshal(b, &config))
		b, err = os.ReadFile(filepath.Join("testdata", file))
		must(t, err)
		must(t, json.Unmarshal(b, &config)) // over what is there
		b, err = json.Marshal(config)
		must(t, err)
		must(t, os.WriteFile(path, b, 0o600))
		got, _, err := lora.Read(dir, targets(), nil)
		must(t, err)
		for _, m := range got {
			if i := strings.Index("qk", m.Path[strings.LastIndex(m.Path, ".")+1:][:1]); m.Scale != want[i] {
				t.Errorf("%s: %s has the scale %v, want %v", file, m.Path, m.Scale, want[i])
			}
		}
	}
}

// exclude_modules leaves modules out as in PEFT: names by their end, one text as a
// regular expression of the whole path.
func TestExcludeModules(t *testing.T) {
	for _, c := range []struct {
		exclude []string
		want    string
	}{
		{[]string{"k_proj", "layers.1.mlp.up_proj"}, "0.self_attn.q_proj 0.mlp.up_proj 1.self_attn.q_proj"},
		{[]string{`.*\.layers\.0\..*`}, "1.self_attn.q_proj 1.self_attn.k_proj 1.mlp.up_proj"},
		{[]string{"(?:k_proj)"}, "0.self_attn.q_proj 0.self_attn.k_proj 0.mlp.up_proj 1.self_attn.q_proj 1.self_attn.k_proj 1.mlp.up_proj"},
		{[]string{"no_such"}, "0.self_attn.q_proj 0.self_attn.k_proj 0.mlp.up_proj 1.self_attn.q_proj 1.self_attn.k_proj 1.mlp.up_proj"},
	} {
		cfg := scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{scu.AllLinear}, ExcludeModules: c.exclude}
		ms := plan(t, cfg)
		if got := strings.Join(paths(ms), " "); got != c.want {
			t.Errorf("without %v: %s, want %s", c.exclude, got, c.want)
		}
		cfg.TargetModules = []string{"q_proj", "k_proj", "up_proj"}
		back, _, err := lora.Read(written(t, cfg, ms, lora.Init(ms, 1)), targets(), nil)
		if err != nil || !slices.Equal(back, ms) {
			t.Errorf("without %v: read back %v, %v", c.exclude, paths(back), err)
		}
	}
	for text, exclude := range map[string][]string{
		"lora.exclude_modules[0]: not a regular expression": {"("},
		"lora.exclude_modules: leaves no module":            {"q_proj", "k_proj", "up_proj"},
	} {
		_, err := lora.Plan(targets(), nil, scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{scu.AllLinear}, ExcludeModules: exclude})
		if err == nil || !strings.HasPrefix(err.Error(), text) {
			t.Errorf("without %v: %v", exclude, err)
		}
	}
}

// A folder with PyTorch's pickle, or with what git-lfs left of the weights, is refused
// by name, with the way out.
func TestWeightsThatArentThere(t *testing.T) {
	cfg := scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{"q_proj"}}
	ms := plan(t, cfg)
	dir := written(t, cfg, ms, lora.Init(ms, 1))
	path := filepath.Join(dir, lora.WeightsFile)
	must(t, os.WriteFile(path, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"), 0o600))
	if _, _, err := lora.Read(dir, targets(), nil); err == nil || !strings.Contains(err.Error(), "git lfs pull") {
		t.Errorf("a pointer: %v", err)
	}
	must(t, os.Rename(path, filepath.Join(dir, "adapter_model.bin")))
	if _, _, err := lora.Read(dir, targets(), nil); scu.CodeOf(err) != scu.CodeUnsupported || !strings.Contains(err.Error(), "adapter_model.bin is a pickle") {
		t.Errorf("a pickle: %v", err)
	}
}
