package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/shannon-control/scu/trainer/tokenizer/internal/regex"
)

// Comparison with the official library. What is expected comes from testdata/generate.py. Tokenizers
// of other folders in the same form are compared too: SCU_TOKENIZERS=dir go test ./trainer/tokenizer

// wanted is what the official library gives for a tokenizer.
type wanted struct {
	Step    int       // of the cases after the first 450, every Step-th
	Zoo     []string  // further texts
	IDs     [][]int32 // of each text, nothing put around it
	Special [][]int32 // with what the post-processor puts around it
	Text    []*string // Special decoded, special tokens left out; nil: the text
	Plain   []*string // Special decoded; nil: the text
	Size    int       // highest id + 1
	Random  []struct {
		IDs         []int32
		Text, Plain string // decoded, special tokens left out and not
	}
}

const handWritten = 450

func (w wanted) texts(cases []string) []string {
	texts := slices.Clone(cases[:handWritten])
	for i := handWritten; i < len(cases); i += w.Step {
		texts = append(texts, cases[i])
	}
	return append(texts, w.Zoo...)
}

func TestOfficialTokenizers(t *testing.T) {
	cases := readGzip[[]string](t, "testdata/cases")
	for _, name := range tokenizerFiles(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			tok, err := Parse(readGzipFile(t, name+".tokenizer.json.gz"))
			if err != nil {
				t.Fatal(err)
			}
			compare(t, tok, readGzip[wanted](t, name+".want"), cases)
		})
	}
}

// TestLongTexts: no text takes time that grows with the square of its length, which would be seconds here.
func TestLongTexts(t *testing.T) {
	var texts []string
	for _, s := range []string{"a", "abcdefghij", "A1", "中文漢字", "é", " ", "\n", "\t1", "=-", "[L] ", "▁"} {
		texts = append(texts, strings.Repeat(s, 60000/len(s)))
	}
	for _, name := range tokenizerFiles(t) {
		tok, err := Parse(readGzipFile(t, name+".tokenizer.json.gz"))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			start := time.Now()
			tok.Encode(text)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%s: %.10q...: %v for %d bytes", filepath.Base(name), text, took, len(text))
			}
		}
	}
}

func compare(t *testing.T, tok *Tokenizer, w wanted, cases []string) {
	t.Helper()
	wrong := func(format string, args ...any) {
		if t.Helper(); t.Failed() {
			return
		}
		t.Errorf(format, args...)
	}
	if tok.VocabSize() != w.Size {
		t.Errorf("VocabSize %d, want %d", tok.VocabSize(), w.Size)
	}
	texts := w.texts(cases)
	if len(texts) != len(w.IDs) {
		t.Fatalf("%d texts, %d answers", len(texts), len(w.IDs))
	}
	for i, text := range texts {
		if got := tok.Encode(text); !slices.Equal(got, w.IDs[i]) {
			wrong("%q:\n got %v\nwant %v", text, tok.names(got), tok.names(w.IDs[i]))
		}
		if got := tok.encodeSpecial(text); !slices.Equal(got, w.Special[i]) {
			wrong("%q with special tokens:\n got %v\nwant %v", text, got, w.Special[i])
		}
		for skip, want := range map[bool]*string{true: w.Text[i], false: w.Plain[i]} {
			if want == nil {
				want = &text
			}
			if got := tok.Decode(w.Special[i], skip); got != *want {
				wrong("%v, special tokens left out: %v:\n got %q\nwant %q", tok.names(w.Special[i]), skip, got, *want)
			}
		}
	}
	for _, r := range w.Random {
		for skip, want := range map[bool]string{true: r.Text, false: r.Plain} {
			if got := tok.Decode(r.IDs, skip); got != want {
				wrong("%v, special tokens left out: %v:\n got %q\nwant %q", tok.names(r.IDs), skip, got, want)
			}
		}
	}
}

// names shows ids with their tokens.
func (t *Tokenizer) names(ids []int32) (list []string) {
	for _, id := range ids {
		tok, _ := t.IDToToken(id)
		list = append(list, fmt.Sprintf("%d:%q", id, tok))
	}
	return list
}

func TestOfficialComponents(t *testing.T) {
	type component[T any] struct {
		Config json.RawMessage
		Want   []T
	}
	want := readGzip[struct {
		Texts         []string
		Lists         [][]string
		Normalizers   []component[string]
		PreTokenizers []component[[]string] `json:"pre_tokenizers"`
		Decoders      []component[string]
		Broken        []struct {
			Bytes []byte
			Want  string
		}
	}](t, "testdata/components")
	label := func(config json.RawMessage) string { return fmt.Sprintf("%.200s", config) }
	for _, c := range want.Normalizers {
		normalize, err := buildNormalizer(newObject("normalizer", 0, string(c.Config)))
		if err != nil {
			t.Error(label(c.Config), err)
			continue
		}
		for i, text := range want.Texts {
			if got := normalize(text); got != c.Want[i] {
				t.Errorf("%s: %q (%U):\n got %q %U\nwant %q %U", label(c.Config), text, []rune(text), got, []rune(got), c.Want[i], []rune(c.Want[i]))
				break
			}
		}
	}
	for _, c := range want.PreTokenizers {
		var p preTokenizer
		if err := buildPreTokenizer(newObject("pre_tokenizer", 0, string(c.Config)), &p); err != nil {
			t.Error(label(c.Config), err)
			continue
		}
		p.flush()
		for i, text := range want.Texts {
			if text == "" {
				continue // never comes to a pre-tokeniser
			}
			got := []string{}
			p.run(piece{text, true}, func(s string) { got = append(got, s) })
			if !slices.Equal(got, c.Want[i]) {
				t.Errorf("%s: %q:\n got %q\nwant %q", label(c.Config), text, got, c.Want[i])
				break
			}
		}
	}
	for _, c := range want.Broken {
		if got := toUTF8(string(c.Bytes)); got != c.Want {
			t.Errorf("%q: got %q, want %q", c.Bytes, got, c.Want)
		}
	}
	for _, c := range want.Decoders {
		decode, err := buildDecoder(newObject("decoder", 0, string(c.Config)))
		if err != nil {
			t.Error(label(c.Config), err)
			continue
		}
		for i, list := range want.Lists {
			if got := strings.Join(decode(slices.Clone(list)), ""); got != c.Want[i] {
				t.Errorf("%s: %q:\n got %q\nwant %q", label(c.Config), list, got, c.Want[i])
			}
		}
	}
}

// TestOfficialClasses compares every code point.
func TestOfficialClasses(t *testing.T) {
	want := readGzip[struct {
		Classes map[string][][2]rune
		Digests map[string]string
	}](t, "testdata/classes")
	table := classes()
	bit := func(c class) func(rune) bool { return func(r rune) bool { return table.of(r)&c != 0 } }
	pattern := func(text string) func(rune) bool {
		p, err := regex.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		return func(r rune) bool { return p.Automaton().Match(string(r), 0) > 0 }
	}
	for name, holds := range map[string]func(rune) bool{
		"letter": pattern(`\p{L}`), "number": pattern(`\p{N}`), "space": pattern(`\s`),
		"upper": pattern(`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`), "lower": pattern(`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`),
		"numeric": bit(cNumeric), "word": bit(cWord), "punct": bit(cPunct),
		"accent": isAccent, "mark": isMark,
		"control": func(r rune) bool { return r == 0 || r == unicode.ReplacementChar || isControl(r) },
	} {
		runs := want.Classes[name]
		for r := rune(0); r <= unicode.MaxRune; r++ {
			for len(runs) > 0 && runs[0][1] < r {
				runs = runs[1:]
			}
			surrogate := 0xD800 <= r && r <= 0xDFFF
			if in := len(runs) > 0 && runs[0][0] <= r; !surrogate && holds(r) != in {
				t.Fatalf("%s: %U: got %v", name, r, !in)
			}
		}
	}
	for name, n := range map[string]normalizer{
		"NFC": formNFC.normalize, "NFD": formNFD.normalize, "NFKC": formNFKC.normalize, "NFKD": formNFKD.normalize,
		"Lowercase": lowercase,
	} {
		h := sha256.New()
		for r := rune(0); r < 0x32000; r++ { // beyond it, nothing changes
			if 0xD800 <= r && r <= 0xDFFF {
				continue
			}
			if r > 0 {
				h.Write([]byte("\n"))
			}
			for i, s := range []string{string(r), string(r) + "\u0334", "\u0345" + string(r)} {
				if i > 0 {
					h.Write([]byte("\n"))
				}
				h.Write([]byte(n(s)))
			}
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want.Digests[name] {
			t.Errorf("%s of every code point: digest %s, want %s", name, got, want.Digests[name])
		}
	}
}
