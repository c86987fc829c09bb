package lora_test

import (
	"os"
	"path/filepath"
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
