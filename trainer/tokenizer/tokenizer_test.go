package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const bookworm = "../../models/bookworm-2m"

// readGzipFile reads a compressed file.
func readGzipFile(t testing.TB, name string) []byte {
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
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// readGzip decodes name.json.gz.
func readGzip[T any](t testing.TB, name string) (v T) {
	t.Helper()
	if err := json.Unmarshal(readGzipFile(t, name+".json.gz"), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func load(t testing.TB, dir string) *Tokenizer {
	t.Helper()
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestBookwormExact(t *testing.T) {
	tok := load(t, bookworm)
	cases, want := readGzip[[]string](t, "testdata/cases"), readGzip[[][]int32](t, "testdata/bookworm-2m.ids")
	if len(cases) != len(want) || len(cases) < 5000 {
		t.Fatalf("%d cases, %d answers", len(cases), len(want))
	}
	for i, c := range cases {
		if got := tok.Encode(c); !slices.Equal(got, want[i]) {
			t.Errorf("%q: got %v, want %v", c, got, want[i])
		}
		if got := tok.Decode(want[i], false); got != c {
			t.Errorf("%q: decoded as %q", c, got)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		load(b, bookworm)
	}
}

// BenchmarkEncode runs bookworm's tokenizer and those of testdata and SCU_TOKENIZERS on English prose.
func BenchmarkEncode(b *testing.B) {
	text := english(b)
	run := func(name string, tok *Tokenizer) {
		b.Run(name, func(b *testing.B) {
			ids := tok.Encode(text) // fills the cache of words
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				ids = tok.AppendEncode(ids[:0], text)
			}
		})
	}
	run("bookworm-2m", load(b, bookworm))
	for _, name := range tokenizerFiles(b) {
		tok, err := Parse(readGzipFile(b, name+".tokenizer.json.gz"))
		if err != nil {
			b.Fatal(err)
		}
		run(filepath.Base(name), tok)
	}
}

// tokenizerFiles gives the path of each compared tokenizer, less its ending.
func tokenizerFiles(t testing.TB) (names []string) {
	dirs := []string{"testdata"}
	if more := os.Getenv("SCU_TOKENIZERS"); more != "" {
		dirs = append(dirs, more)
	}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.tokenizer.json.gz"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no tokenizers in %s (%v)", dir, err)
		}
		for _, file := range files {
			names = append(names, strings.TrimSuffix(file, ".tokenizer.json.gz"))
		}
	}
	return names
}

// english is 115 kB of English prose, written by bookworm-2m itself.
func english(t testing.TB) string { return string(readGzipFile(t, "testdata/novel.txt.gz")) }
