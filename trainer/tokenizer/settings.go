package tokenizer

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
)

// byteLevelClasses are the tokenizer classes for which Transformers (5.23) makes the
// byte-level pre-tokeniser anew, with tokenizer_config.json's add_prefix_space in the
// place of tokenizer.json's. Other classes take tokenizer.json as it is.
var byteLevelClasses = []string{"GPT2Tokenizer", "GPTNeoXTokenizer", "Qwen2Tokenizer"}

// withSettings is the text of tokenizer.json with what tokenizer_config.json beside
// it says in its place.
func withSettings(dir string, file []byte) ([]byte, error) {
	var config struct {
		Class          string `json:"tokenizer_class"`
		AddPrefixSpace *bool  `json:"add_prefix_space"`
	}
	if err := readOptional(filepath.Join(dir, "tokenizer_config.json"), &config); err != nil {
		return nil, err
	}
	if config.AddPrefixSpace == nil || !slices.Contains(byteLevelClasses, strings.TrimSuffix(config.Class, "Fast")) {
		return file, nil
	}
	var all map[string]json.RawMessage
	var pre map[string]any
	if json.Unmarshal(file, &all) != nil || json.Unmarshal(all["pre_tokenizer"], &pre) != nil {
		return file, nil // Parse tells what is wrong
	}
	parts := []any{pre}
	if list, ok := pre["pretokenizers"].([]any); ok {
		parts = list
	}
	changed := false
	for _, p := range parts {
		if p, ok := p.(map[string]any); ok && p["type"] == "ByteLevel" && p["add_prefix_space"] != *config.AddPrefixSpace {
			p["add_prefix_space"], changed = *config.AddPrefixSpace, true
		}
	}
	if !changed {
		return file, nil
	}
	text, err := json.Marshal(pre)
	if err != nil {
		return nil, err
	}
	all["pre_tokenizer"] = text
	return json.Marshal(all)
}
