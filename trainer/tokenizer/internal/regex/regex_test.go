package regex

import (
	"compress/gzip"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	word         = `[^\r\n\p{L}\p{N}]?\p{L}+`
	punctuation  = ` ?[^\s\p{L}\p{N}]+[\r\n]*`
	blanks       = `\s*[\r\n]+|\s+(?!\S)|\s+`
	casedWord1   = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
	casedWord2   = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`
	deepseekWord = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
)

// published are the patterns of the models in use.
var published = map[string]string{
	"GPT-2":               `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
	"GPT-4":               `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`,
	"Llama 3, OLMo 2":     contractions + `|` + word + `|\p{N}{1,3}|` + punctuation + `|` + blanks,
	"Qwen 2 and 3":        contractions + `|` + word + `|\p{N}|` + punctuation + `|` + blanks,
	"Qwen 3.5":            contractions + `|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|` + blanks,
	"Seed Coder":          contractions + `|` + word + `|\p{N}{1}| ?[^\s\p{L}\p{N}` + "\r\n" + `]+|` + blanks,
	"K-EXAONE":            contractions + `|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`,
	"GPT-4o":              casedWord1 + contractions + `?|` + casedWord2 + contractions + `?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + blanks,
	"Tekken":              casedWord1 + `|` + casedWord2 + `|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + blanks,
	"DeepSeek V3":         deepseekWord + "| ?[\\p{P}\\p{S}]+[\r\n]*|" + blanks,
	"DeepSeek V3 digits":  `\p{N}{1,3}`,
	"DeepSeek V3 kana":    `[一-龥぀-ゟ゠-ヿ]+`,
	"DeepSeek LLM line":   "[\r\n]",
	"DeepSeek LLM letter": `\s?\p{L}+`,
	"DeepSeek LLM sign":   `\s?\p{P}+`,
	"DeepSeek LLM":        `\s?[!-/:-~！-／：-～‘-‟　-。]+`,
	"DeepSeek LLM Han":    `[一-龥ࠀ-一가-퟿]+`,
	"DeepSeek LLM blanks": `\s+$`,
	"Youtu":               `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`,
	"Falcon":              `[0-9][0-9][0-9]`,
	"BLOOM":               ` ?[^(\s|[.,!?…。，、।۔،])]+`,
	"CLIP":                `<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`,
	"CLIP blanks":         `\s+`,
	"Laguna, Gemma 4":     `[^\n]+|[\n]+`,
}

// someText draws a text in which patterns of that kind have something to decide.
func someText(r *rand.Rand) string {
	pieces := []string{"a", "b", "Z", "ab", "The", " the", "é", "e\u0301", "ſ", "K", "ǅ", "ʰ", "ª", "一", "龥", "龦", "ゟ", "ヿ", "가", "ㄅ", "ࠀ", "नि", "1", "12", "345", "٣", "Ⅷ", "½",
		"'", "'s", "'S", "'ſ", "'LL", "'re", "'v", "'Ve", "'t", "'d", "’s", ".", "/", "//", "$", "«", "、", "！", "€", "<|startoftext|>", "🙂", "\u200d", "\ufe0f",
		" ", " ", "  ", "\t", "\n", "\r\n", "\r", " \n", "\u00a0", "\u3000", "\u2028", "\u0085", "\v", "\x00", "\x1c", "\u0301", "\U0001d7d8", "\U0002ebf0", "\U00010d4e", "\u0897", "\U0010ffff", "\ufffd"}
	var out strings.Builder
	for range 1 + r.IntN(12) {
		out.WriteString(pieces[r.IntN(len(pieces))])
		if r.IntN(40) == 0 {
			out.WriteString(strings.Repeat(pieces[r.IntN(len(pieces))], r.IntN(30)))
		}
		if r.IntN(20) == 0 {
			out.WriteRune(rune(r.IntN(0xD800)))
		}
	}
	return out.String()
}

// TestAutomata: every published pattern has an automaton, and it cuts as the engine does.
func TestAutomata(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	texts := readGzip[[]string](t, "../../testdata/cases.json.gz")[:450] // written by hand
	for range 2000 {
		texts = append(texts, someText(r))
	}
	for name, text := range published {
		a, err := compileAutomaton(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		engine, err := CompileEngine(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if got, want := a.spans(text), engine(text); !slices.Equal(got, want) {
				t.Errorf("%s: %q:\n got %v\nwant %v", name, text, got, want)
				break
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for name, text := range published {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := compileAutomaton(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestOfficialPatterns: random patterns cut as in the official library, the automata and the engine's.
func TestOfficialPatterns(t *testing.T) {
	automata, engines, refused := 0, 0, 0
	for _, c := range readGzip[[]struct {
		Pattern string
		Texts   []string
		Want    [][]string
	}](t, "testdata/patterns.json.gz") {
		p, err := Compile(c.Pattern)
		switch {
		case err != nil:
			refused++
			continue
		case p.auto != nil:
			automata++
		default:
			engines++
		}
		for i, text := range c.Texts {
			got := []string{}
			for _, s := range p.Find(text) {
				if s.B > s.A {
					got = append(got, text[s.A:s.B])
				}
			}
			if !slices.Equal(got, c.Want[i]) {
				t.Errorf("%q: %q:\n got %q\nwant %q", c.Pattern, text, got, c.Want[i])
				break
			}
		}
	}
	if automata < 200 || engines < 100 {
		t.Errorf("%d automata, %d for the engine, %d refused", automata, engines, refused)
	}
}

// FuzzPattern: an automaton cuts as the engine does, whatever the pattern.
func FuzzPattern(f *testing.F) {
	for _, text := range published {
		f.Add(text, "It's 12 o'clock,\r\n  Ünder e\u0301 漢字 \n")
	}
	for _, text := range []string{`(?:ab|a)(?:c|bcd)?`, `a+?b{2,3}`, `[a-z&&[^aeiou]]+$`, `[b[^a-y]]|x?+y++(?=z)`, `(?i:s|K[e-g])+`, `(a|b)*c`, `((a?)*)*`, `a{1000}{1000}`} {
		f.Add(text, "abcd abbb xyz SKſ aab\nc")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 200 || len(text) > 200 || !utf8.ValidString(pattern) {
			return
		}
		a, err := compileAutomaton(pattern)
		if err != nil {
			return
		}
		text = strings.ToValidUTF8(text, "\ufffd")
		got := a.spans(text)
		engine, err := CompileEngine(pattern)
		if err != nil {
			return
		}
		if want := engine(text); !slices.Equal(got, want) {
			t.Fatalf("%q: %q:\n got %v\nwant %v", pattern, text, got, want)
		}
	})
}

// What the two dialects understand differently is refused.
func TestDialect(t *testing.T) {
	for _, pattern := range []string{`\Bx`, `[\b]`, `[[:alpha:]]`, `x{1,2}+`, `x{2}?`, `(?m:.)`, `\p{^L}`, `[\w&&a]`, `[\w[^b]]`, `[\P{L}\w]`, `\h`,
		`(?i)straße`, `(?i:ss)`, `\p{L`, `\p{Punct}`, `\p`, `[]a]`, `(?`, `(?<`, `[a`, `\`, `(?P<a>x)`} {
		if _, err := Compile(pattern); err == nil {
			t.Errorf("%q: accepted", pattern)
		}
	}
}

// readGzip decodes a compressed JSON file.
func readGzip[T any](t *testing.T, name string) (v T) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
