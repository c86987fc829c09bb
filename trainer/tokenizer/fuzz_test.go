package tokenizer

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shannon-control/scu/trainer/tokenizer/internal/regex"
)

// FuzzParse: no file makes Parse panic, and what it accepts encodes and decodes any text.
func FuzzParse(f *testing.F) {
	for _, text := range []string{small, smallWordPiece, smallUnigram, "", "{}", "[", `{"model": {"merges": [], "vocab": {}}}`} {
		f.Add([]byte(text), "aab<s> x\u0301\xff")
	}
	for _, pre := range []string{
		`{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}`, `{"type": "Digits", "individual_digits": true}`,
		`{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false}`, `{"type": "BertPreTokenizer"}`,
		`{"type": "Punctuation", "behavior": "MergedWithNext"}`, `{"type": "Split", "pattern": {"Regex": "\\s+|[^\\w-]"}, "behavior": "Contiguous", "invert": true}`,
	} {
		text := small[:strings.Index(small, `"pre_tokenizer"`)] + `"pre_tokenizer": ` + pre + small[strings.Index(small, `,
	"post_processor"`):]
		if _, err := Parse([]byte(text)); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(text), "a b")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := Parse(data)
		if err != nil || len(text) > 200 {
			return
		}
		for _, id := range tok.encodeSpecial(text) {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("id %d of %d", id, tok.VocabSize())
			}
		}
		tok.Decode([]int32{0, 1, 2, 3, -1}, false)
	})
}

// FuzzEncode: a byte-level tokenizer gives every text back, and cutting by hand gives the ids that
// cutting with the regular-expression engine gives.
func FuzzEncode(f *testing.F) {
	tok := load(f, bookworm)
	engine, err := regex.CompileEngine(patternGPT2)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range readGzip[[]string](f, "testdata/cases")[:450] {
		f.Add(text)
	}
	f.Add("\xf0\x9f\x98<|endoftext|>\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, text string) {
		ids := tok.Encode(text)
		text = toUTF8(text)
		if got := tok.Decode(ids, false); got != text {
			t.Fatalf("%q comes back as %q", text, got)
		}
		var again []int32
		tok.added.cut(tok.added.raw, text, func(from, to int) {
			for _, s := range engine(text[from:to]) {
				again = tok.model.appendEncode(again, text[from:to][s.A:s.B])
			}
		}, func(id int32) { again = append(again, id) })
		if !slices.Equal(ids, again) {
			t.Fatalf("%q: %v, by the engine %v", text, tok.names(ids), tok.names(again))
		}
	})
}

// TestMergeBothWays: the scan and the heap give the same.
func TestMergeBothWays(t *testing.T) {
	m := load(t, bookworm).model.(*bpe)
	sc := new(scratch)
	for _, text := range append(readGzip[[]string](t, "testdata/cases"), strings.Repeat("na", 400)) {
		for len(text) > 0 {
			n := min(len(text), longWord)
			ids := m.bytes(nil, text[:n])
			text = text[n:]
			scan := slices.Clone(m.merge(sc, slices.Clone(ids)))
			if heap := m.mergeLong(sc, ids); !slices.Equal(scan, heap) {
				t.Fatalf("%v, by the heap %v", scan, heap)
			}
		}
	}
}

// TestCuts: cutting at joins changes no id.
func TestCuts(t *testing.T) {
	for _, name := range []string{"llama2", "gemma", "mistral", "unknown"} {
		tok, err := Parse(readGzipFile(t, filepath.Join("testdata", name+".tokenizer.json.gz")))
		if err != nil {
			t.Fatal(err)
		}
		m := tok.model.(*bpe)
		if m.joins == nil {
			t.Fatalf("%s is not cut", name)
		}
		for _, text := range readGzip[[]string](t, "testdata/cases") {
			text = strings.ReplaceAll(text, " ", wordSign)
			if _, ok := m.vocab.id(text); text == "" || ok {
				continue
			}
			if got, want := m.appendEncode(nil, text), m.appendMerged(nil, text); !slices.Equal(got, want) {
				t.Fatalf("%s: %q: cut %v, whole %v", name, text, tok.names(got), tok.names(want))
			}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	tok := load(t, bookworm)
	cases, want := readGzip[[]string](t, "testdata/cases"), readGzip[[][]int32](t, "testdata/bookworm-2m.ids")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < len(cases); i += 2 {
				if got := tok.Encode(cases[i]); !slices.Equal(got, want[i]) {
					t.Errorf("%q: got %v, want %v", cases[i], got, want[i])
				}
			}
		})
	}
	wg.Wait()
}
