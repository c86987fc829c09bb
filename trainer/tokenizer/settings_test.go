package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// add_prefix_space of tokenizer_config.json counts where it does in Transformers
// 5.23, whose ids these are.
func TestAddPrefixSpace(t *testing.T) {
	file, err := os.ReadFile("../../models/bookworm-2m/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	plain, spaced := []int32{598, 1831, 316}, []int32{387, 1831, 316}
	for config, want := range map[string][]int32{
		`{}`:                         plain,
		`{"add_prefix_space": true}`: plain,
		`{"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": true}`: plain,
		`{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true}`:           spaced,
		`{"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": false}`:      plain,
		`{"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": true}`:          spaced,
		`{"tokenizer_class": "GPTNeoXTokenizer", "add_prefix_space": true}`:        spaced,
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"tokenizer.json": string(file), "tokenizer_config.json": config} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tok, err := Load(dir)
		if err != nil {
			t.Fatal(config, err)
		}
		if got := tok.Encode("The sea was"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", config, got, want)
		}
	}
}
