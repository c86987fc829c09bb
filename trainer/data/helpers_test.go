package data

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// eos is the end-of-text token of the tests' tokenizers.
const eos = 0

// letters is a tokenizer made for reading by eye: a token a byte, its id the byte;
// and "ab", "the " and "xyz" are one token each, 300, 301, 302.
type letters struct{}

var joined = []string{"ab", "the ", "xyz"}

func (letters) AppendEncode(dst []int32, text string) []int32 {
next:
	for text != "" {
		for i, w := range joined {
			if rest, ok := strings.CutPrefix(text, w); ok {
				dst, text = append(dst, int32(300+i)), rest
				continue next
			}
		}
		dst, text = append(dst, int32(text[0])), text[1:]
	}
	return dst
}

func (letters) Decode(ids []int32, _ bool) string {
	var b strings.Builder
	for _, id := range ids {
		switch {
		case id == eos:
			b.WriteString("<end>")
		case id >= 300:
			b.WriteString(joined[id-300])
		default:
			b.WriteByte(byte(id))
		}
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// numbers is a tokenizer that reads ids: "1 2 3".
type numbers struct{ letters }

func (numbers) AppendEncode(dst []int32, text string) []int32 {
	for _, f := range strings.Fields(text) {
		var id int32
		for _, c := range f {
			id = id*10 + (c - '0')
		}
		dst = append(dst, id)
	}
	return dst
}

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func options(block int) Options {
	return Options{BlockSize: block, EOS: eos, TextDocuments: scu.DocumentFile, TrainOn: scu.TrainOnAll, Packing: scu.PackJoined}
}

// open reads content as a file of that name.
func open(t testing.TB, name, content string, tok Tokenizer, o Options) (*Dataset, *Report) {
	t.Helper()
	d, r, err := Open(context.Background(), write(t, name, content), name, tok, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, r
}

// all gives the ids and targets of every block.
func all(t testing.TB, d *Dataset) (ids, targets [][]int32) {
	t.Helper()
	for i := range d.Blocks() {
		b, err := d.Block(i)
		if err != nil {
			t.Fatal(err)
		}
		ids, targets = append(ids, b.IDs), append(targets, b.Targets)
	}
	return ids, targets
}

// numbered is a set of n blocks of size tokens; every token of block i is i+1.
// short is what the last block lacks.
func numbered(t testing.TB, n, size, short int) *Dataset {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "blocks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var raw []byte
	for i := range n*size - short {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(i/size+1))
	}
	if _, err := f.Write(raw); err != nil {
		t.Fatal(err)
	}
	d, err := newDataset([]*tokenFile{{f: f}}, []doc{{n: int32(n*size - short)}}, size, scu.PackRows, eos, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// readCase reads a file of testdata/cases: data that people had trouble with.
func readCase(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/cases", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// published is a published tokenizer, from the tokenizer package's tests.
func published(t testing.TB, name string) *tokenizer.Tokenizer {
	t.Helper()
	f, err := os.Open(filepath.Join("../tokenizer/testdata", name+".tokenizer.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
