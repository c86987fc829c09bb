package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// small is a whole tokenizer.json; the tests put wrong things into it.
const small = `{
	"version": "1.0", "truncation": null, "padding": null,
	"added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
	"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "a"}]},
	"pre_tokenizer": {"type": "Split", "pattern": {"String": "b"}, "behavior": "Isolated", "invert": false},
	"post_processor": {"type": "TemplateProcessing",
		"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
		"special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}},
	"decoder": {"type": "Strip", "content": "a", "start": 1, "stop": 0},
	"model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
		"fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
		"vocab": {"a": 0, "b": 1, "aa": 2}, "merges": [["a", "a"]]}
}`

const (
	smallWordPiece = `{"model": {"type": "WordPiece", "unk_token": "u", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9, "vocab": {"u": 0, "a": 1}}}`
	smallUnigram   = `{"model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [["u", 0], ["a", -1.5]]}}`
)

func TestParseSmall(t *testing.T) {
	for _, text := range []string{small, smallWordPiece, smallUnigram} {
		tok, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		tok.Decode(tok.encodeSpecial("aab"), false)
	}
	// Command R+ has the fields of ByteLevel in its template.
	tok, err := Parse([]byte(strings.Replace(small, `{"type": "TemplateProcessing"`, `{"add_prefix_space": true, "trim_offsets": false, "use_regex": true, "type": "TemplateProcessing"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(tok.encodeSpecial("axb<s>"), tok.VocabSize()), "[3 2 1 3] 4"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := tok.Decode([]int32{-1, 0, 2, 99, 3, 1 << 30}, true); got != "a" {
		t.Errorf("decoded %q", got)
	}
	if id, ok := tok.TokenToID("<s>"); id != 3 || !ok {
		t.Errorf("TokenToID: %d, %v", id, ok)
	}
	if _, ok := tok.TokenToID("zz"); ok {
		t.Error("TokenToID found zz")
	}
	if name, ok := tok.IDToToken(2); name != "aa" || !ok {
		t.Errorf("IDToToken: %q, %v", name, ok)
	}
	if _, ok := tok.IDToToken(4); ok {
		t.Error("IDToToken found 4")
	}
}

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat(`{"type":"Sequence","normalizers":[`, 40) + `{"type":"NFC"}` + strings.Repeat(`]}`, 40)
	for _, c := range []struct{ name, base, old, new, want string }{
		{"cut off", small, "}]],", "", "not JSON"},
		{"empty", small, small, "", "not JSON"},
		{"an array", small, small, "[]", "want an object"},
		{"not UTF-8", small, `"b"`, "\"\xff\"", "not UTF-8"},
		{"nested without end", small, small, strings.Repeat("[", 1e6), "not JSON"},
		{"version", small, `"1.0"`, `"2.0"`, "tokenizer.json.version"},
		{"unknown field at the top", small, `"padding"`, `"paddling"`, "tokenizer.json.paddling: unknown field"},
		{"no model", small, `"model"`, `"modell"`, "tokenizer.json.model: missing"},
		{"model of another type", small, `"type": "BPE"`, `"type": "WordLevel"`, `tokenizer.json.model.type: "WordLevel" is not supported`},
		{"model is a string", small, small, `{"model": "x"}`, "tokenizer.json.model: want an object"},
		{"type is a number", small, `"type": "BPE"`, `"type": 3`, "tokenizer.json.model.type: want a string"},
		{"unknown field of the model", small, `"fuse_unk"`, `"fuse_all"`, "tokenizer.json.model.fuse_all: unknown field"},
		{"dropout", small, `"dropout": null`, `"dropout": 0.1`, "tokenizer.json.model.dropout"},
		{"dropout of wrong type", small, `"dropout": null`, `"dropout": "x"`, "tokenizer.json.model.dropout: want a number"},
		{"byte_fallback of wrong type", small, `"byte_fallback": false`, `"byte_fallback": 1`, "tokenizer.json.model.byte_fallback: want true or false"},
		{"unk_token not there", small, `"unk_token": null`, `"unk_token": "?"`, `tokenizer.json.model.unk_token: "?" is not in the vocabulary`},
		{"prefix too long", small, `"continuing_subword_prefix": null`, `"continuing_subword_prefix": "` + strings.Repeat("#", 300) + `"`, "continuing_subword_prefix: 300 bytes"},
		{"merge shorter than the prefix", small, `"continuing_subword_prefix": null`, `"continuing_subword_prefix": "##"`, "shorter than continuing_subword_prefix"},
		{"no vocabulary", small, `"vocab"`, `"vokab"`, "vocab: missing"},
		{"vocabulary is a list", small, `{"a": 0, "b": 1, "aa": 2}`, `["a"]`, "tokenizer.json.model.vocab: want an object"},
		{"id negative", small, `"b": 1`, `"b": -1`, `tokenizer.json.model.vocab: token "b": -1 is no token id`},
		{"id huge", small, `"b": 1`, `"b": 4294967295`, "is no token id"},
		{"id beyond 64 bits", small, `"b": 1`, `"b": 99999999999999999999999`, "is no token id"},
		{"id a fraction", small, `"b": 1`, `"b": 1.5`, "is no token id"},
		{"id a string", small, `"b": 1`, `"b": "1"`, "is no token id"},
		{"id null", small, `"b": 1`, `"b": null`, "is no token id"},
		{"no merges", small, `"merges"`, `"murges"`, "merges: missing"},
		{"merges an object", small, `[["a", "a"]]`, `{}`, "tokenizer.json.model.merges: want an array"},
		{"merge of an unknown left token", small, `["a", "a"]`, `["z", "a"]`, `tokenizer.json.model.merges[0]: token "z"`},
		{"merge of an unknown right token", small, `["a", "a"]`, `["a", "z"]`, `tokenizer.json.model.merges[0]: token "z"`},
		{"merge to an unknown token", small, `["a", "a"]`, `["a", "b"]`, `the joined token "ab"`},
		{"merge of three", small, `["a", "a"]`, `["a", "a", "a"]`, "merges[0]: want two tokens"},
		{"merge of one", small, `["a", "a"]`, `["a"]`, "merges[0]: want two tokens"},
		{"merge of numbers", small, `["a", "a"]`, `[1, 2]`, "merges[0]: want two tokens"},
		{"merge a number", small, `["a", "a"]`, `7`, "merges[0]: want two tokens"},
		{"merge without a space", small, `["a", "a"]`, `"aa"`, "merges[0]"},
		{"merge with two spaces", small, `["a", "a"]`, `"a a a"`, "merges[0]"},
		{"added tokens an object", small, `"added_tokens": [{`, `"added_tokens": {"x": 1}, "normalizers": [{`, "added_tokens: want an array"},
		{"added token without content", small, `"content": "<s>"`, `"contents": "<s>"`, "tokenizer.json.added_tokens[0].content: missing"},
		{"added token with a bad id", small, `"id": 3`, `"id": -3`, "tokenizer.json.added_tokens[0].id"},
		{"added token a string", small, `"added_tokens": [`, `"added_tokens": ["x", `, "tokenizer.json.added_tokens[0]: want an object"},
		{"unknown normalizer", small, `"NFC"`, `"NFX"`, `tokenizer.json.normalizer.normalizers[0].type: "NFX" is not supported`},
		{"deep", small, `{"type": "NFC"}`, deep, "levels deep"},
		{"sequence without its list", small, `"normalizers"`, `"normalisers"`, "tokenizer.json.normalizer.normalizers: want an array"},
		{"bad regular expression", small, `"x+"`, `"(x"`, "tokenizer.json.normalizer.normalizers[1].pattern"},
		{"pattern of no kind", small, `{"Regex": "x+"}`, `{"Glob": "x"}`, "pattern.Regex: missing"},
		{"pattern of two kinds", small, `{"Regex": "x+"}`, `{"Regex": "x", "String": "x"}`, "pattern.Regex: unknown field"},
		{"empty pattern", small, `{"String": "b"}`, `{"String": ""}`, "the pattern is empty"},
		{"pattern too long", small, `"x+"`, `"` + strings.Repeat("(", 1<<15) + `"`, "a pattern of 32768 bytes"},
		{"replacement too long", small, `"content": "a"}]`, `"content": "` + strings.Repeat("a", 300) + `"}]`, "content: 300 bytes"},
		{"unknown pre-tokenizer", small, `"type": "Split"`, `"type": "UnicodeScripts"`, `tokenizer.json.pre_tokenizer.type: "UnicodeScripts"`},
		{"unknown behavior", small, `"Isolated"`, `"Alone"`, `tokenizer.json.pre_tokenizer.behavior: "Alone"`},
		{"template id beyond the vocabulary", small, `"ids": [3]`, `"ids": [4]`, "id 4 is beyond the vocabulary"},
		{"template id negative", small, `"ids": [3]`, `"ids": [-4]`, "is no token id"},
		{"template names no token", small, `{"SpecialToken": {"id": "<s>"`, `{"SpecialToken": {"id": "<t>"`, "not among special_tokens"},
		{"template for two texts", small, `{"Sequence": {"id": "A"`, `{"Sequence": {"id": "B"`, "single[1].Sequence.id"},
		{"template without the text", small, `, {"Sequence": {"id": "A", "type_id": 0}}`, ``, "the text stands there 0 times"},
		{"template with the text twice", small, `{"Sequence": {"id": "A", "type_id": 0}}`, `{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}`, "the text stands there 2 times"},
		{"template of many ids", small, `"ids": [3]`, `"ids": [` + strings.Repeat("3,", 2000) + `3]`, "post_processor.single: more than 1024 ids"},
		{"template with an unknown item", small, `{"Sequence": {"id": "A", "type_id": 0}}`, `{"Sequence": {"id": "A"}, "Gap": 1}`, "post_processor.single[1].Gap: unknown field"},
		{"unknown processor", small, `"TemplateProcessing"`, `"Other"`, `tokenizer.json.post_processor.type: "Other"`},
		{"two templates", small, `"post_processor": {"type"`, `"post_processor": {"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]}, {"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]}]}, "decoder": {"type"`, "processors[1]: a second processor"},
		{"unknown decoder", small, `"type": "Strip"`, `"type": "CTC"`, `tokenizer.json.decoder.type: "CTC"`},
		{"strips two characters", small, `"content": "a", "start"`, `"content": "ab", "start"`, "tokenizer.json.decoder.content: want one character"},
		{"strips less than nothing", small, `"start": 1`, `"start": -1`, "tokenizer.json.decoder.start: want a count"},
		{"wordpiece without its unknown token", smallWordPiece, `"unk_token": "u"`, `"unk_token": "v"`, `"v" is not in the vocabulary`},
		{"wordpiece without a limit", smallWordPiece, `"max_input_chars_per_word": 9,`, ``, "tokenizer.json.model.max_input_chars_per_word: missing"},
		{"unigram without its unknown token", smallUnigram, `"unk_id": 0`, `"unk_id": null`, "tokenizer.json.model.unk_id: missing"},
		{"unigram's unknown token not there", smallUnigram, `"unk_id": 0`, `"unk_id": 2`, "tokenizer.json.model.unk_id: 2 is not in the vocabulary"},
		{"unigram without scores", smallUnigram, `["a", -1.5]`, `"a"`, "tokenizer.json.model.vocab[1]: want [token, score]"},
		{"unigram with words for scores", smallUnigram, `-1.5`, `"x"`, "tokenizer.json.model.vocab[1]: want [token, score]"},
		{"charsmap not base64", small, `{"type": "NFC"}`, `{"type": "Precompiled", "precompiled_charsmap": "!"}`, "normalizers[0].precompiled_charsmap"},
		{"charsmap that lies", small, `{"type": "NFC"}`, `{"type": "Precompiled", "precompiled_charsmap": "/////wAA"}`, "shorter than the trie"},
		{"metaspace after a normalizer that moves the start", small, `{"type": "Split", "pattern": {"String": "b"}, "behavior": "Isolated", "invert": false}`,
			`{"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}`, "prepend_scheme \"first\" is not supported after this normalizer"},
		{"metaspace contradicts itself", small, `{"type": "Split", "pattern": {"String": "b"}, "behavior": "Isolated", "invert": false}`,
			`{"type": "Metaspace", "replacement": "_", "add_prefix_space": false, "prepend_scheme": "always"}`, "add_prefix_space"},
	} {
		text := strings.Replace(c.base, c.old, c.new, 1)
		if c.name == "cut off" {
			text = small[:len(small)/2]
		} else if text == c.base {
			t.Errorf("%s: nothing replaced", c.name)
		}
		_, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: accepted", c.name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, want %q in it", c.name, err, c.want)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: a message of %d bytes", c.name, len(err.Error()))
		}
	}
}

// TestAddedTokensOverlap: a token that ends with another one, and two that are one once normalised.
func TestAddedTokensOverlap(t *testing.T) {
	const flags = `"single_word": false, "lstrip": false, "rstrip": false, "special": false`
	added := func(id int, content string, normalized bool) string {
		return fmt.Sprintf(`{"id": %d, "content": %q, "normalized": %v, %s}`, id, content, normalized, flags)
	}
	text := strings.Replace(smallUnigram, `{"model"`, `{"normalizer": {"type": "Lowercase"}, "added_tokens": [`+strings.Join([]string{
		added(2, "b", false), added(3, "ab", false), added(4, "Q", true), added(5, "q", true),
	}, ",")+`], "model"`, 1)
	tok, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(tok.Encode("abbaQ")), "[3 2 1 4]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLoadFolder(t *testing.T) {
	write := func(dir string, files map[string]string) string {
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	vocab, merges := `{"Ġ": 0, "a": 1, "Ġa": 2, "</s>": 3, "<|endoftext|>": 4}`, "#version: 0.2\nĠ a\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // ids of "a a<|endoftext|></s><x>" with special tokens, or the error
	}{
		{"gpt2", map[string]string{"vocab.json": vocab, "merges.txt": merges}, "[1 2 4]"},
		{"line ends of Windows", map[string]string{"vocab.json": vocab, "merges.txt": "Ġ a\r\n"}, "[1 2 4]"},
		{"special tokens elsewhere", map[string]string{"vocab.json": vocab, "merges.txt": merges,
			"tokenizer_config.json":   `{"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": true}`,
			"special_tokens_map.json": `{"eos_token": "</s>", "pad_token": {"content": "<x>", "lstrip": true}}`}, "[2 2 4 3 5]"},
		{"added tokens", map[string]string{"vocab.json": vocab, "merges.txt": merges, "added_tokens.json": `{"<y>": 6, "<x>": 5}`}, "[1 2 4 5]"},
		{"added tokens that don't follow", map[string]string{"vocab.json": vocab, "merges.txt": merges, "added_tokens.json": `{"<x>": 9}`}, `"<x>" has id 9`},
		{"blenderbot", map[string]string{"vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": `{"tokenizer_class": "BlenderbotTokenizer"}`}, "[2 2 3 0 3]"},
		{"another class", map[string]string{"vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": `{"tokenizer_class": "XLMTokenizer"}`}, `"XLMTokenizer" is not supported`},
		{"add_bos_token", map[string]string{"vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": `{"add_bos_token": true}`}, "add_bos_token"},
		{"empty", nil, "neither tokenizer.json nor vocab.json"},
		{"no merges", map[string]string{"vocab.json": vocab}, "neither tokenizer.json nor vocab.json"},
		{"bad merge", map[string]string{"vocab.json": vocab, "merges.txt": "Ġ a\nĠ\n"}, "merges.txt: line 2"},
		{"bad vocabulary", map[string]string{"vocab.json": `[]`, "merges.txt": merges}, "vocab.json: want an object"},
		{"cut-off vocabulary", map[string]string{"vocab.json": `{"a":`, "merges.txt": merges}, "vocab.json: not JSON"},
		{"bad settings", map[string]string{"vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": `{"add_prefix_space": 3}`}, "tokenizer_config.json"},
		{"bad tokenizer.json", map[string]string{"tokenizer.json": "{", "vocab.json": vocab, "merges.txt": merges}, "not JSON"},
	} {
		got := ""
		if tok, err := Load(write(t.TempDir(), c.files)); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(tok.encodeSpecial("a a<|endoftext|></s><x>"))
		}
		if !strings.Contains(got, c.want) || strings.Contains(got, "no such file") {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tokenizer.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a folder for tokenizer.json was accepted")
	}
}

// TestGPT2 makes GPT-2's vocab.json from its merges, as OpenAI made it: the bytes in the order of
// bytes_to_unicode, what each merge gives, and the end of text.
func TestGPT2(t *testing.T) {
	merges := readGzipFile(t, "testdata/gpt2.merges.txt.gz")
	vocab := map[string]int{}
	for _, printable := range []bool{true, false} {
		for b, r := range alphabetOf {
			if (rune(b) == r) == printable {
				vocab[string(r)] = len(vocab)
			}
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(merges)), "\n")[1:] {
		vocab[strings.Replace(line, " ", "", 1)] = len(vocab)
	}
	vocab["<|endoftext|>"] = len(vocab)
	text, err := json.Marshal(vocab)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"vocab.json": text, "merges.txt": merges} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tok := load(t, dir)
	compare(t, tok, readGzip[wanted](t, "testdata/gpt2.want"), readGzip[[]string](t, "testdata/cases"))
}
