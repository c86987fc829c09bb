package gguf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
)

// kinds of tokens, by ggml's numbers.
const (
	tokenNormal  int32 = 1
	tokenUnknown int32 = 2
	tokenControl int32 = 3
	tokenUser    int32 = 4
	tokenUnused  int32 = 5
	tokenByte    int32 = 6
)

// splits are the ways of cutting text into words that llama.cpp has for byte-level BPE, by
// the pattern of tokenizer.json. Llama's takes a word that is a token before it looks at the
// merges, which tokenizer.json says as ignore_merges; llama.cpp has the same without under
// another name.
var splits = map[string]string{
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: "llama-bpe",
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      "qwen2",
}

// tokenizerFile is what of tokenizer.json becomes metadata.
type tokenizerFile struct {
	AddedTokens []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    normalizer   `json:"normalizer"`
	PreTokenizer  preTokenizer `json:"pre_tokenizer"`
	PostProcessor struct {
		Type   string `json:"type"`
		Single []struct {
			SpecialToken *struct{} `json:"SpecialToken"`
		} `json:"single"`
		Processors []struct {
			Single []struct {
				SpecialToken *struct{} `json:"SpecialToken"`
			} `json:"single"`
		} `json:"processors"`
	} `json:"post_processor"`
	Model struct {
		Type         string            `json:"type"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		UnkToken     string            `json:"unk_token"`
		Vocab        map[string]int    `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
	} `json:"model"`
}

type normalizer struct {
	Type        string       `json:"type"`
	Prepend     string       `json:"prepend"`
	Normalizers []normalizer `json:"normalizers"`
}

// prepends reports whether a text gets a space before it.
func (n normalizer) prepends() bool {
	return n.Type == "Prepend" && n.Prepend == space || slices.ContainsFunc(n.Normalizers, normalizer.prepends)
}

// space is SentencePiece's.
const space = "▁"

type preTokenizer struct {
	Type             string `json:"type"`
	UseRegex         *bool  `json:"use_regex"`
	IndividualDigits bool   `json:"individual_digits"`
	PrependScheme    string `json:"prepend_scheme"` // of Metaspace
	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	Pattern          struct {
		Regex string `json:"Regex"`
	} `json:"pattern"`
	Pretokenizers []preTokenizer `json:"pretokenizers"`
}

// split is the name of how a byte-level tokenizer cuts text, "" if llama.cpp has none.
func (p preTokenizer) split() string {
	switch p.Type {
	case "ByteLevel":
		if p.UseRegex == nil || *p.UseRegex {
			return "gpt-2"
		}
	case "Split":
		return splits[p.Pattern.Regex]
	case "Sequence":
		if len(p.Pretokenizers) != 2 || p.Pretokenizers[1].Type != "ByteLevel" {
			return ""
		}
		first, words := p.Pretokenizers[0], p.Pretokenizers[1].split()
		switch {
		case words == "":
			return first.split()
		case first.Type == "Digits" && first.IndividualDigits:
			return "smollm"
		}
	}
	return ""
}

// prepends reports whether a text gets a space before it.
func (p preTokenizer) prepends() bool {
	if p.Type == "Metaspace" {
		return p.PrependScheme == "always" || p.PrependScheme == "first" || p.PrependScheme == "" && (p.AddPrefixSpace == nil || *p.AddPrefixSpace)
	}
	return slices.ContainsFunc(p.Pretokenizers, preTokenizer.prepends)
}

// vocabulary is the metadata of a model folder's tokenizer, of so many ids.
func vocabulary(dir string, size int) ([]Pair, error) {
	var t tokenizerFile
	if err := readJSON(filepath.Join(dir, "tokenizer.json"), &t); errors.Is(err, fs.ErrNotExist) {
		return nil, scu.Errorf(scu.CodeInvalid, "the model has no tokenizer.json, which a GGUF file has within").At("base_model").
			WithHint("put one beside its config.json (Transformers makes it of older files: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)), or merge into a folder, or write the adapter alone")
	} else if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "tokenizer.json can't be read: %w", err).At("base_model")
	}
	if t.Model.Type != "BPE" {
		return nil, unsupported("a tokenizer of type %s", t.Model.Type)
	}
	tokens, kinds := make([]string, size), make([]int32, size)
	for i := range tokens {
		tokens[i], kinds[i] = fmt.Sprintf("[PAD%d]", i), tokenUnused
	}
	put := func(id int, text string, kind int32) error {
		if id < 0 || id >= size {
			return scu.Errorf(scu.CodeInvalid, "token %.60q has the id %d; the model has %d", text, id, size).At("base_model")
		}
		tokens[id], kinds[id] = text, kind
		return nil
	}
	for text, id := range t.Model.Vocab {
		kind := tokenNormal
		if t.Model.ByteFallback {
			switch {
			case text == t.Model.UnkToken:
				kind = tokenUnknown
			case len(text) == 6 && strings.HasPrefix(text, "<0x"):
				kind = tokenByte
			}
		}
		if err := put(id, text, kind); err != nil {
			return nil, err
		}
	}
	for _, a := range t.AddedTokens {
		kind := tokenUser
		if a.Special {
			kind = tokenControl
		}
		if t.Model.ByteFallback && a.Content == t.Model.UnkToken {
			kind = tokenUnknown
		}
		text := a.Content
		if t.Model.ByteFallback && kind == tokenUser {
			text = strings.ReplaceAll(text, space, " ") // it is looked for in the text as people write it
		}
		if err := put(a.ID, text, kind); err != nil {
			return nil, err
		}
	}
	merges, err := t.merges()
	if err != nil {
		return nil, err
	}
	var meta []Pair
	if t.Model.ByteFallback {
		meta = append(meta, Pair{"tokenizer.ggml.model", "llama"}, Pair{"tokenizer.ggml.pre", "default"},
			Pair{"tokenizer.ggml.tokens", tokens}, Pair{"tokenizer.ggml.scores", t.scores(merges, size)}, Pair{"tokenizer.ggml.token_type", kinds},
			Pair{"tokenizer.ggml.add_space_prefix", t.Normalizer.prepends() || t.PreTokenizer.prepends()})
	} else {
		pre := t.PreTokenizer.split()
		if pre == "" {
			return nil, unsupported("this tokenizer's way of cutting text into words")
		}
		if pre == "llama-bpe" && !t.Model.IgnoreMerges {
			pre = "dbrx"
		}
		joined := make([]string, len(merges))
		for i, m := range merges {
			joined[i] = m[0] + " " + m[1]
		}
		meta = append(meta, Pair{"tokenizer.ggml.model", "gpt2"}, Pair{"tokenizer.ggml.pre", pre},
			Pair{"tokenizer.ggml.tokens", tokens}, Pair{"tokenizer.ggml.token_type", kinds}, Pair{"tokenizer.ggml.merges", joined})
	}
	special, err := specialTokens(dir, size)
	if err != nil {
		return nil, err
	}
	meta = append(append(meta, special...), Pair{"tokenizer.ggml.add_bos_token", t.addsBOS()})
	template, err := chatTemplate(dir)
	if err == nil && template != "" {
		meta = append(meta, Pair{"tokenizer.chat_template", template})
	}
	return meta, err
}

func (t *tokenizerFile) merges() ([][2]string, error) {
	out := make([][2]string, len(t.Model.Merges))
	for i, raw := range t.Model.Merges {
		var text string
		var pair []string
		if json.Unmarshal(raw, &text) == nil {
			pair = strings.SplitN(text, " ", 2)
		} else if err := json.Unmarshal(raw, &pair); err != nil {
			pair = nil
		}
		if len(pair) != 2 {
			return nil, scu.Errorf(scu.CodeInvalid, "merge %d of tokenizer.json is none", i).At("base_model")
		}
		out[i] = [2]string(pair)
	}
	return out, nil
}

// scores order the tokens of a SentencePiece vocabulary as its merges do: llama.cpp joins
// the two pieces that make the token with the highest score first.
func (t *tokenizerFile) scores(merges [][2]string, size int) []float32 {
	scores := make([]float32, size)
	for i := len(merges) - 1; i >= 0; i-- { // of several that make a token the first counts
		if id, ok := t.Model.Vocab[merges[i][0]+merges[i][1]]; ok {
			scores[id] = -float32(i + 1)
		}
	}
	return scores
}

// addsBOS reports whether the tokenizer begins a text with a token of its own.
func (t *tokenizerFile) addsBOS() bool {
	single := t.PostProcessor.Single
	for _, p := range t.PostProcessor.Processors {
		if len(p.Single) > 0 {
			single = p.Single
		}
	}
	return len(single) > 0 && single[0].SpecialToken != nil
}

// specialTokens are the ids that config.json names; of several ends the first.
func specialTokens(dir string, size int) ([]Pair, error) {
	var config map[string]any
	if err := readJSON(filepath.Join(dir, "config.json"), &config); err != nil {
		return nil, err
	}
	var meta []Pair
	for _, x := range [][2]string{{"bos_token_id", "bos_token_id"}, {"eos_token_id", "eos_token_id"}, {"pad_token_id", "padding_token_id"}} {
		value := config[x[0]]
		if list, ok := value.([]any); ok && len(list) > 0 {
			value = list[0]
		}
		if id, ok := value.(float64); ok && id >= 0 && int(id) < size {
			meta = append(meta, Pair{"tokenizer.ggml." + x[1], uint32(id)})
		}
	}
	return meta, nil
}

// chatTemplate is a folder's, "" if it has none.
func chatTemplate(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "chat_template.jinja"))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return string(b), err
	}
	var config struct {
		ChatTemplate any `json:"chat_template"`
	}
	if err := readJSON(filepath.Join(dir, "tokenizer_config.json"), &config); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	text, _ := config.ChatTemplate.(string)
	return text, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func unsupported(format string, args ...any) *scu.Error {
	return scu.Errorf(scu.CodeUnsupported, format+" can't be written as GGUF here", args...).At("base_model").
		WithHint("merge into a folder, which llama.cpp's own converters may take")
}
