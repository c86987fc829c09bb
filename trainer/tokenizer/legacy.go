package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shannon-control/scu/trainer/pyjson"
)

// Folders from before tokenizer.json: vocab.json with merges.txt, and beside them, where they exist,
// tokenizer_config.json, special_tokens_map.json and added_tokens.json. They are put together as the
// tokenizer.json that Transformers makes of them, and parsed as such. GPT-2's tokenizer (DialoGPT and
// most others of that age) and Blenderbot's are known.

// legacyConfig is what counts of tokenizer_config.json and special_tokens_map.json.
type legacyConfig struct {
	Class          string        `json:"tokenizer_class"`
	AddPrefixSpace *bool         `json:"add_prefix_space"`
	AddBOS         bool          `json:"add_bos_token"`
	BOS            *legacyToken  `json:"bos_token"`
	EOS            *legacyToken  `json:"eos_token"`
	Unknown        *legacyToken  `json:"unk_token"`
	Separator      *legacyToken  `json:"sep_token"`
	Padding        *legacyToken  `json:"pad_token"`
	CLS            *legacyToken  `json:"cls_token"`
	Mask           *legacyToken  `json:"mask_token"`
	Additional     []legacyToken `json:"additional_special_tokens"`
}

// fileToken is an entry of tokenizer.json's added_tokens.
type fileToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// legacyToken is written as a string or as an object.
type legacyToken fileToken

func (t *legacyToken) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, &t.Content)
	}
	return json.Unmarshal(data, (*fileToken)(t))
}

func loadLegacy(dir string) (*Tokenizer, error) {
	vocabPath, mergesPath := filepath.Join(dir, "vocab.json"), filepath.Join(dir, "merges.txt")
	vocabText, err := readFile(vocabPath)
	if err != nil {
		return nil, err
	}
	mergesText, err := readFile(mergesPath)
	if err != nil {
		return nil, err
	}
	if err := checkJSON(vocabText); err != nil {
		return nil, fmt.Errorf("%s: %w", vocabPath, err)
	}
	vocab, err := parseVocab(vocabPath, string(vocabText))
	if err != nil {
		return nil, err
	}
	var merges [][2]string
	for i, line := range strings.Split(strings.TrimSuffix(string(mergesText), "\n"), "\n") {
		if line = strings.TrimSuffix(line, "\r"); strings.HasPrefix(line, "#version") {
			continue
		}
		m, err := parseMerge(line)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", mergesPath, i+1, err)
		}
		merges = append(merges, [2]string{m.left, m.right})
	}
	var config legacyConfig
	added := map[string]int32{}
	for name, dst := range map[string]any{
		"tokenizer_config.json": &config, "special_tokens_map.json": &config, "added_tokens.json": &added,
	} {
		if err := readOptional(filepath.Join(dir, name), dst); err != nil {
			return nil, err
		}
	}

	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	file := map[string]any{
		"version":       "1.0",
		"pre_tokenizer": byteLevel,
		"decoder":       byteLevel,
		"model":         map[string]any{"type": "BPE", "vocab": json.RawMessage(vocabText), "merges": merges},
	}
	switch strings.TrimSuffix(config.Class, "Fast") {
	case "", "GPT2Tokenizer":
		config.fill("<|endoftext|>", &config.BOS, &config.EOS, &config.Unknown)
	case "BlenderbotTokenizer":
		byteLevel["add_prefix_space"] = true
		config.fill("<s>", &config.BOS, &config.CLS)
		config.fill("</s>", &config.EOS, &config.Separator)
		config.fill("<unk>", &config.Unknown)
		config.fill("<pad>", &config.Padding)
		config.fill("<mask>", &config.Mask)
		config.Mask.LStrip = true
		eos, ok := vocab.id(config.EOS.Content)
		if !ok {
			return nil, fmt.Errorf("%s: eos_token %q is not in the vocabulary", vocabPath, config.EOS.Content)
		}
		name := config.EOS.Content
		file["post_processor"] = map[string]any{
			"type":           "TemplateProcessing",
			"single":         []any{map[string]any{"Sequence": map[string]any{"id": "A"}}, map[string]any{"SpecialToken": map[string]any{"id": name}}},
			"special_tokens": map[string]any{name: map[string]any{"ids": []int32{eos}}},
		}
	default:
		return nil, fmt.Errorf("%s: tokenizer_class %q is not supported without a tokenizer.json",
			filepath.Join(dir, "tokenizer_config.json"), config.Class)
	}
	if config.AddBOS {
		return nil, fmt.Errorf("%s: add_bos_token is not supported without a tokenizer.json", filepath.Join(dir, "tokenizer_config.json"))
	}
	if config.AddPrefixSpace != nil {
		byteLevel["add_prefix_space"] = *config.AddPrefixSpace
	}
	file["added_tokens"] = config.tokens(added)
	data, err := json.Marshal(file)
	if err != nil {
		return nil, err
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s with merges.txt: %w", vocabPath, err)
	}
	for tok, id := range added {
		if got, _ := t.TokenToID(tok); got != id {
			return nil, fmt.Errorf("%s: token %q has id %d there, but %d follows from the vocabulary",
				filepath.Join(dir, "added_tokens.json"), tok, id, got)
		}
	}
	return t, nil
}

// readOptional decodes a JSON file that need not be there.
func readOptional(path string, dst any) error {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(pyjson.Standard(data), dst); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// fill gives the tokens that no file names their class's default.
func (c *legacyConfig) fill(content string, tokens ...**legacyToken) {
	for _, t := range tokens {
		if *t == nil {
			*t = &legacyToken{Content: content}
		}
	}
}

// tokens lists the added tokens: those with ids in their order, then the special ones.
func (c *legacyConfig) tokens(added map[string]int32) (list []fileToken) {
	special := []*legacyToken{c.BOS, c.EOS, c.Unknown, c.Separator, c.Padding, c.CLS, c.Mask}
	for i := range c.Additional {
		special = append(special, &c.Additional[i])
	}
	isSpecial := func(tok string) bool {
		return slices.ContainsFunc(special, func(t *legacyToken) bool { return t != nil && t.Content == tok })
	}
	for _, tok := range slices.SortedFunc(maps.Keys(added), func(a, b string) int { return cmp.Compare(added[a], added[b]) }) {
		if !isSpecial(tok) {
			list = append(list, fileToken{Content: tok, Normalized: true})
		}
	}
	for _, t := range special {
		if t != nil {
			t.Special = true
			list = append(list, fileToken(*t))
		}
	}
	return list
}
