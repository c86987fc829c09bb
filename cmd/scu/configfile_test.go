package main

import (
	"testing"

	"github.com/shannon-control/scu"
)

// Of a --config nothing is passed over in silence.
func TestConfigFile(t *testing.T) {
	for text, field := range map[string]string{
		"\ufeff{\"steps\": 2}":                                                                "",
		`{"lora": {"r": 8}, "control": {"Kp": 1}}`:                                            "",
		`{"lora": {"target_modules": ["q_proj", "q_proj"], "r": 4}, "steps": 4}`:              "",
		`{"steps": 2, "steps": 3}`:                                                            "steps",
		`{"lora": {"r": 8}, "steps": 2, "lora": {"alpha": 4}}`:                                "lora",
		`{"epochs": 1, "lora": {"rank_pattern": {"q_proj": 2, "q_proj": 3}}}`:                 "lora.rank_pattern.q_proj",
		`{"lora": {"target_modules": ["q_proj"]}, "control": {"law": "scu", "law": "fixed"}}`: "control.law",
	} {
		var out map[string]any
		err := decodeObject("--config x.json", []byte(text), &out)
		if (err == nil) != (field == "") || err != nil && scu.AsError(err).Field != field {
			t.Errorf("%s: %v, want the field %q", text, err, field)
		}
	}
}
