package data

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu/trainer/tokenizer"
)

// builtIn is the tokenizer of the built-in model: byte-level BPE.
func builtIn(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load("../../models/bookworm-2m")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

const passage = "It was the best of times,\n it was the worst of times;\r\n\n\n\tit was the age of wisdom, 1859.\n" +
	"«C'était» — naïve café, 漢字 🙂🙂 end.\n  \nIndented\n\n"

// A long text is cut into pieces; their tokens are those of the whole.
func TestPiecesGiveTheTokensOfTheWhole(t *testing.T) {
	tok := builtIn(t)
	text := strings.Repeat(passage, 20)
	for _, size := range []int{1, 10, 100, 1000} {
		lines, err := newLineReader(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var got []int32
		var whole bytes.Buffer
		pieces, ends := 0, 0
		r := &Report{}
		if err := readText(lines, false, size, r, func(d document) error {
			if d.begin != (pieces == 0) || d.line != 1 {
				t.Errorf("piece %d: begin %v, line %d", pieces, d.begin, d.line)
			}
			if d.end {
				ends++
			}
			pieces++
			whole.WriteString(d.text)
			got = tok.AppendEncode(got, d.text)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if whole.String() != text || pieces < 2 || ends != 1 || r.Documents != 1 {
			t.Fatalf("size %d: %d bytes of %d in %d pieces, %d ends", size, whole.Len(), len(text), pieces, ends)
		}
		// Pieces of a byte or ten are also cut before white space, at twice the size.
		if want := tok.Encode(text); size >= 100 && !slices.Equal(got, want) {
			t.Errorf("size %d: %d tokens, the whole has %d", size, len(got), len(want))
		}
	}
}

// Byte-level tokens decode to the bytes they cover, so the right answer can be
// counted.
func TestStartsBefore(t *testing.T) {
	tok := builtIn(t)
	ids := tok.Encode(passage)
	start := 0
	startOf := make([]int, len(ids))
	for i, id := range ids {
		startOf[i] = start
		name, _ := tok.IDToToken(id)
		start += len([]rune(name)) // a character of the byte alphabet is a byte
	}
	if start != len(passage) {
		t.Fatalf("tokens cover %d bytes of %d", start, len(passage))
	}
	for b := range passage { // every boundary between characters
		want, _ := slices.BinarySearch(startOf, b)
		if got := startsBefore(tok, ids, passage, b); got != want {
			t.Errorf("boundary at %d, %q|%q: %d tokens, want %d", b, passage[max(0, b-8):b], passage[b:min(len(passage), b+8)], got, want)
		}
	}
}
