package base

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/shannon-control/scu/models"
)

// A copy of the tokenizer names its class and its end-of-text token, wherever the model has
// them; what it says of itself stays.
func TestTokenizerCopy(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string // beside the built-in model's
		want  string            // tokenizer_config.json
	}{
		{"none", nil, `{"clean_up_tokenization_spaces":false,"model_max_length":512,"tokenizer_class":"PreTrainedTokenizerFast","eos_token":"<|endoftext|>"}`},
		{"as GPT-2's", map[string]string{tokenizerConfigFile: `{"model_max_length": 1000000000000000019884624838656, "bos_token": null}`},
			`{"model_max_length":1000000000000000019884624838656,"tokenizer_class":"PreTrainedTokenizerFast","eos_token":"<|endoftext|>"}`},
		{"token in the map", map[string]string{tokenizerConfigFile: `{"tokenizer_class": null}`, specialTokensFile: `{"eos_token": "<|endoftext|>"}`}, `{"tokenizer_class":"PreTrainedTokenizerFast"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			copied := tokenizerCopy(t, c.files)
			var got, want map[string]json.RawMessage
			check(t, json.Unmarshal(copied[tokenizerConfigFile], &got))
			check(t, json.Unmarshal([]byte(c.want), &want))
			if len(got) != len(want) {
				t.Errorf("%s", copied[tokenizerConfigFile])
			}
			for k, v := range want {
				if string(got[k]) != string(v) {
					t.Errorf("%s is %s, want %s", k, got[k], v)
				}
			}
			if copied["tokenizer.json"] == nil || copied["chat_template.jinja"] == nil {
				t.Error("files are missing")
			}
		})
	}
	whole := `{"tokenizer_class":  "LlamaTokenizer", "eos_token": {"content": "<|endoftext|>"}}`
	for _, text := range []string{whole, `{"model_max_length": NaN}`} {
		if got := tokenizerCopy(t, map[string]string{tokenizerConfigFile: text})[tokenizerConfigFile]; string(got) != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

// tokenizerCopy is TokenizerCopy of the built-in model with other files beside it, by name.
func tokenizerCopy(t *testing.T, files map[string]string) map[string][]byte {
	t.Helper()
	dir, err := models.Extract(t.TempDir())
	check(t, err)
	for name, text := range files {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	m, err := Open(dir)
	check(t, err)
	defer m.Close()
	out := map[string][]byte{}
	list, err := m.TokenizerCopy()
	check(t, err)
	for _, f := range list {
		out[f.Name] = f.Data
	}
	return out
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
