package data

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/shannon-control/scu"
)

// Rows are packed whole, and where one begins nothing of another is seen or
// predicted.
func TestRowsArePackedWhole(t *testing.T) {
	const rows = `{"text":"1 2 3"}` + "\n" + `{"text":"4"}` + "\n" + `{"text":"5 6 7 8 9"}` + "\n" + `{"text":"1 1 1 1 1 1 1 1 1 1"}`
	o := options(8)
	o.Packing = scu.PackRows
	d, r := open(t, "a.jsonl", rows, numbers{}, o)
	want := []Batch{
		{1, 7, []int32{1, 2, 3, eos, 1, 1, eos}, []int32{2, 3, eos, -1, 1, eos, -1}, []int32{0, 0, 0, 0, 4, 4, 4}},
		{1, 8, []int32{4, eos, 5, 6, 7, 8, 9, eos}, []int32{eos, -1, 6, 7, 8, 9, eos, -1}, []int32{0, 0, 2, 2, 2, 2, 2, 2}},
		{1, 8, []int32{1, 1, 1, 1, 1, 1, 1, 1}, []int32{1, 1, 1, 1, 1, 1, 1, -1}, nil}, // cut
	}
	for i := range want {
		if got, err := d.Block(i); err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("block %d is %v, error %v, want %v", i, got, err, want[i])
		}
	}
	if d.Blocks() != len(want) || d.Tokens() != 23 || r.Targets != 18 || r.Packing != scu.PackRows {
		t.Errorf("%d blocks of %d tokens; report %+v", d.Blocks(), d.Tokens(), r)
	}
	if len(r.Suspicious) != 1 || r.Suspicious[0].Kind != LongRow || r.Suspicious[0].Lines[0].Line != 4 {
		t.Errorf("odd: %+v", r.Suspicious)
	}
	b, err := d.batch([]int32{1, 0})
	if starts := []int32{0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 4, 4, 4, 7}; err != nil || !slices.Equal(b.Starts, starts) {
		t.Errorf("starts %v, error %v, want %v", b.Starts, err, starts)
	}

	o.Packing = scu.PackOff
	d, _ = open(t, "a.jsonl", rows, numbers{}, o)
	if got := lengths(d); !slices.Equal(got, []int{4, 2, 6, 8, 3}) {
		t.Errorf("blocks of %v without packing", got)
	}
	if b, err := d.batch([]int32{0, 1, 2}); err != nil || b.Starts != nil {
		t.Errorf("one row a block needs no starts: %v, error %v", b.Starts, err)
	}
}

// What of a long prompt fills a part of a row has nothing to predict.
func TestPartsWithoutATargetAreLeftOut(t *testing.T) {
	o := options(4)
	o.Packing, o.TrainOn = scu.PackRows, scu.TrainOnCompletion
	d, r := open(t, "a.jsonl", `{"prompt":"123456","completion":"yo"}`+"\n"+`{"prompt":"1","completion":"y"}`, letters{}, o)
	ids, targets := all(t, d)
	if want := [][]int32{{'5', '6', 'y', 'o'}, {'1', 'y', eos}}; !reflect.DeepEqual(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
	if want := [][]int32{{-1, 'y', 'o', -1}, {'y', eos, -1}}; !reflect.DeepEqual(targets, want) {
		t.Errorf("targets %v, want %v", targets, want)
	}
	if r.LeftOut != 5 || r.Targets != 4 {
		t.Errorf("report %+v", r)
	}
}

// Rows of many lengths fill their blocks well, each in one of them, and the outcome
// is a function of the lengths.
func TestBestFit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{128, 512, 4096} {
		var whole []piece
		var tokens int
		for i := range 5000 {
			n := 1 + min(size-1, int(random.ExpFloat64()*float64(size)/5))
			tokens += n
			whole = append(whole, piece{at: int64(i), n: int32(n)})
		}
		pack := func() (blocks [][]piece) {
			bestFit(slices.Clone(whole), size, func(p ...piece) { blocks = append(blocks, slices.Clone(p)) })
			return blocks
		}
		blocks := pack()
		seen := map[int64]bool{}
		for _, b := range blocks {
			n := 0
			for _, p := range b {
				n += int(p.n)
				if seen[p.at] {
					t.Fatalf("piece %d twice", p.at)
				}
				seen[p.at] = true
			}
			if n > size {
				t.Fatalf("a block of %d tokens, over %d", n, size)
			}
		}
		least := (tokens + size - 1) / size
		if len(seen) != len(whole) || len(blocks) > least+least/100+1 {
			t.Errorf("size %d: %d pieces in %d blocks; %d would hold the tokens", size, len(seen), len(blocks), least)
		}
		if !reflect.DeepEqual(blocks, pack()) {
			t.Error("packed otherwise the second time")
		}
	}
}
