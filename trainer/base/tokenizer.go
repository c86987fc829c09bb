package base

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
)

// TokenizerFiles are what a tokenizer and its chat template may consist of.
var TokenizerFiles = []string{"tokenizer.json", tokenizerConfigFile, specialTokensFile, "chat_template.jinja", "vocab.json", "merges.txt"}

const (
	tokenizerConfigFile = "tokenizer_config.json"
	specialTokensFile   = "special_tokens_map.json"
)

// TokenizerFile is a file that a folder with a copy of a model's tokenizer has.
type TokenizerFile struct {
	Name string
	Data []byte
}

// TokenizerCopy returns the files that make a folder without the model's config.json
// load as its tokenizer in Transformers' AutoTokenizer, with the same end-of-text token
// and chat template: the model's own, byte for byte, but that tokenizer_config.json is
// made or completed if it leaves the class or the end-of-text token to config.json.
func (b *Model) TokenizerCopy() ([]TokenizerFile, error) {
	var out []TokenizerFile
	for _, name := range TokenizerFiles {
		text, err := os.ReadFile(filepath.Join(b.Dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, scu.Errorf(scu.CodeInvalid, "the model's tokenizer can't be read: %w", err).At("base_model")
		}
		if name == tokenizerConfigFile {
			text = b.tokenizerConfig(text)
		}
		if text != nil {
			out = append(out, TokenizerFile{name, text})
		}
	}
	return out, nil
}

// tokenizerConfig completes the text of tokenizer_config.json; nil is a model without one.
// A text that isn't a JSON object stays.
func (b *Model) tokenizerConfig(text []byte) []byte {
	config, special := map[string]any{}, map[string]any{}
	if text == nil {
		config["clean_up_tokenization_spaces"] = false // of old versions: decoding would drop spaces
		config["model_max_length"] = b.Spec.Positions
	} else {
		var raw map[string]json.RawMessage // what it says stays as it is written
		if json.Unmarshal(text, &raw) != nil || raw == nil {
			return text
		}
		for k, v := range raw {
			if string(v) != "null" {
				config[k] = v
			}
		}
	}
	before := len(config)
	if _, err := os.Stat(filepath.Join(b.Dir, "tokenizer.json")); err == nil && config["tokenizer_class"] == nil {
		config["tokenizer_class"] = "PreTrainedTokenizerFast" // tokenizer.json says all
	}
	readJSON(filepath.Join(b.Dir, specialTokensFile), &special)
	if eos, ok := b.Tokenizer.IDToToken(b.EOS); ok && config["eos_token"] == nil && special["eos_token"] == nil {
		config["eos_token"] = eos
	}
	if text != nil && len(config) == before {
		return text
	}
	var completed bytes.Buffer
	enc := json.NewEncoder(&completed)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(config); err != nil {
		panic(err) // strings, numbers, and JSON as it was read
	}
	return completed.Bytes()
}
