package lora

import (
	"testing"

	"github.com/shannon-control/scu"
)

// Whatever an adapter's config says, it is refused or planned.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		`{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"],"rank_pattern":{"q_.*":2}}`,
		`{"peft_type":"LORA","r":9223372036854775807,"lora_alpha":-1,"target_modules":"q_proj","use_rslora":true}`,
		`{"peft_type":"LORA","r":1,"target_modules":["all-linear"],"alpha_pattern":{"(":0}}`,
		`{"peft_type":"LORA","r":1,"bias":{},"target_modules":[null]}`,
		`null`, `[]`, ``,
	} {
		f.Add([]byte(text))
	}
	targets := []Target{{Path: "a.q_proj", In: 8, Out: 8}, {Path: "a.up_proj", In: 8, Out: 16}}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, _, err := parseConfig("adapter_config.json", text)
		if err != nil {
			if scu.CodeOf(err) == scu.CodeInternal {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		modules, err := Plan(targets, nil, cfg)
		for _, m := range modules {
			if err == nil && m.R < 1 {
				t.Fatalf("%q: rank %d", text, m.R)
			}
		}
	})
}
