package data

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// rowsOf is JSONL of rows that say from, from+1, ...; each number is a token.
func rowsOf(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"text":"%d %d %d"}`+"\n", from+i, from+i, from+i)
	}
	return b.String()
}

// firsts are the first tokens of a Dataset's rows.
func firsts(t *testing.T, d *Dataset) (tokens []int32) {
	t.Helper()
	for i := range d.Blocks() {
		b, err := d.Block(i)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range b.IDs {
			if i == 0 || b.Starts != nil && b.Starts[i] == int32(i) {
				tokens = append(tokens, id)
			}
		}
	}
	slices.Sort(tokens)
	return tokens
}

func divide(t *testing.T, d *Dataset, fraction float64, seed int64) (train, val *Dataset) {
	t.Helper()
	train, val, err := d.Split(fraction, seed)
	if err != nil {
		t.Fatal(err)
	}
	return train, val
}

func TestSplitHoldsRowsOut(t *testing.T) {
	for _, c := range []struct {
		rows     int
		fraction float64
		val      int
	}{
		{100, 0.05, 5}, {10, 0.05, 1}, {2, 0.5, 1}, {2, 0.05, 1}, {3, 0.99, 2}, {1, 0.5, 0}, {100, 0, 0},
	} {
		for _, packing := range []string{scu.PackRows, scu.PackJoined, scu.PackOff} {
			o := options(16)
			o.Packing = packing
			d, _ := open(t, "a.jsonl", rowsOf(1, c.rows), numbers{}, o)
			train, val := divide(t, d, c.fraction, 42)
			if val.Documents() != c.val || train.Documents() != c.rows-c.val {
				t.Errorf("%+v: %d held out, %d left", c, val.Documents(), train.Documents())
			}
			if train.Tokens()+val.Tokens() != d.Tokens() {
				t.Errorf("%+v: %d + %d tokens of %d", c, train.Tokens(), val.Tokens(), d.Tokens())
			}
			if packing == scu.PackJoined {
				continue
			}
			all := slices.Concat(firsts(t, train), firsts(t, val))
			if slices.Sort(all); !slices.Equal(all, firsts(t, d)) || len(all) != c.rows {
				t.Errorf("%+v: rows %v in all", c, all)
			}
			_, again := divide(t, d, c.fraction, 42)
			if !slices.Equal(firsts(t, again), firsts(t, val)) {
				t.Errorf("%+v: another choice for the same seed", c)
			}
		}
	}
	d, _ := open(t, "a.jsonl", rowsOf(1, 100), numbers{}, options(16))
	_, a := divide(t, d, 0.1, 1)
	_, b := divide(t, d, 0.1, 2)
	if slices.Equal(a.docs, b.docs) {
		t.Error("the same choice for two seeds")
	}
}

// Equal rows stay on one side, and what a row's side is doesn't depend on the order
// of the file.
func TestSplitIsByContent(t *testing.T) {
	o := options(16)
	o.Packing = scu.PackRows
	text := rowsOf(1, 40)
	d, _ := open(t, "a.jsonl", text+text+text, numbers{}, o)
	train, val := divide(t, d, 0.2, 7)
	if n := Shared(train, val); n != 0 || val.Documents() != 24 {
		t.Errorf("%d rows on both sides, %d held out", n, val.Documents())
	}
	lines := strings.SplitAfter(text, "\n")
	slices.Reverse(lines)
	backwards, _ := open(t, "a.jsonl", strings.Join(lines, ""), numbers{}, o)
	_, other := divide(t, backwards, 0.2, 7)
	if !slices.Equal(slices.Compact(firsts(t, val)), firsts(t, other)) {
		t.Errorf("rows %v held out, backwards %v", firsts(t, val), firsts(t, other))
	}

	same, _ := open(t, "a.jsonl", strings.Repeat(rowsOf(1, 1), 5), numbers{}, o)
	if train, val := divide(t, same, 0.5, 7); val.Blocks() != 0 || train.Documents() != 5 {
		t.Errorf("of five equal rows %d are held out", val.Documents())
	}
}

// A text that is one document gives its end, from a block's beginning on.
func TestSplitOfOneText(t *testing.T) {
	for _, c := range []struct {
		tokens, fraction float64
		train, val       []int
	}{
		{100, 0.2, []int{10, 10, 10, 10, 10, 10, 10, 10}, []int{10, 10}},
		{95, 0.2, []int{10, 10, 10, 10, 10, 10, 10, 10}, []int{10, 5}},
		{25, 0.05, []int{10, 10}, []int{5}},
		{10, 0.5, []int{10}, nil},
		{21, 0.05, []int{10, 10}, nil}, // the end-of-text alone predicts nothing
	} {
		text := strings.Repeat("x", int(c.tokens)-1)
		d, _ := open(t, "a.txt", text, letters{}, options(10))
		train, val := divide(t, d, c.fraction, 42)
		if !slices.Equal(lengths(train), c.train) || !slices.Equal(lengths(val), c.val) {
			t.Errorf("%+v: trains on %v, held out %v", c, lengths(train), lengths(val))
		}
	}
}

func lengths(d *Dataset) (n []int) {
	for i := range d.Blocks() {
		n = append(n, d.Len(i))
	}
	return n
}

func TestShared(t *testing.T) {
	a, _ := open(t, "a.jsonl", rowsOf(1, 10), numbers{}, options(16))
	b, _ := open(t, "b.jsonl", rowsOf(8, 10)+rowsOf(8, 1), numbers{}, options(16))
	if n := Shared(a, b); n != 4 { // 8, 9, 10 and 8 again
		t.Errorf("%d rows shared, want 4", n)
	}
}

// Rows go over the borders of blocks, but never over that of training and
// validation: a row that validates is in no block that is trained on.
func TestSplitOfRowsOverBlocks(t *testing.T) {
	tok := builtIn(t)
	for _, packing := range []string{scu.PackRows, scu.PackJoined} {
		o := options(128)
		o.EOS, o.Packing = tok.Encode("<|endoftext|>")[0], packing
		d, r := open(t, "a.jsonl", readCase(t, "split-train.jsonl"), tok, o)
		train, val := divide(t, d, 0.2, 42)
		if r.Documents != 16 || val.Documents() != 3 || Shared(train, val) != 0 || train.Tokens()+val.Tokens() != d.Tokens() {
			t.Errorf("packing %s: of %d rows %d validate, %d are shared", packing, r.Documents, val.Documents(), Shared(train, val))
		}
	}
}
