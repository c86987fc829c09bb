package data

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// mix mixes rows of 3 tokens and an end, a row a block; sizes are the rows of each
// source, whose numbers begin at 1, 1001, 2001, ...
func mix(t *testing.T, sizes []int, shares []float64) (*Dataset, error) {
	t.Helper()
	o := options(4)
	o.Packing = scu.PackOff
	var sets []*Dataset
	for i, n := range sizes {
		d, _ := open(t, fmt.Sprintf("%d.jsonl", i), rowsOf(1000*i+1, n), numbers{}, o)
		sets = append(sets, d)
	}
	return Mix(sets, shares)
}

// perSource is how many blocks of each source an epoch has.
func perSource(d *Dataset, epoch int) []int {
	n := make([]int, len(d.sources))
	for _, b := range d.epoch(7, epoch) {
		n[slices.IndexFunc(d.sources, func(s source) bool { return int(b) < s.to })]++
	}
	return n
}

func TestAnEpochHasTheShares(t *testing.T) {
	for _, c := range []struct {
		sizes  []int
		shares []float64
		want   []int // blocks of each source in an epoch
	}{
		{[]int{10, 30}, nil, []int{10, 30}},
		{[]int{10, 10}, []float64{1, 1}, []int{10, 10}},
		{[]int{10, 10}, []float64{2, 1}, []int{20, 10}},
		{[]int{10, 30}, []float64{1, 1}, []int{30, 30}},
		{[]int{10, 30}, []float64{0.1, 0.1}, []int{30, 30}},
		{[]int{10, 30}, []float64{3, 1}, []int{90, 30}},
		{[]int{10, 30}, []float64{1, 4}, []int{10, 40}},
		{[]int{10, 30, 60}, []float64{1, 1, 2}, []int{30, 30, 60}},
		{[]int{7, 10}, []float64{1, 1}, []int{10, 10}},
		{[]int{1, 100}, []float64{1, 1}, []int{100, 100}},
		{[]int{3, 10}, []float64{1, 3}, []int{3, 10}}, // 3.33 to the nearest block
	} {
		d, err := mix(t, c.sizes, c.shares)
		if err != nil {
			t.Errorf("%v with %v: %v", c.sizes, c.shares, err)
			continue
		}
		tokens := 0
		for _, n := range c.want {
			tokens += 4 * n
		}
		for epoch := range 4 {
			if got := perSource(d, epoch); !slices.Equal(got, c.want) {
				t.Errorf("%v with %v: epoch %d has %v blocks, want %v", c.sizes, c.shares, epoch, got, c.want)
			}
		}
		if d.EpochBlocks()*4 != tokens || d.EpochTokens() != int64(tokens) {
			t.Errorf("%v with %v: an epoch of %d blocks, %d tokens, want %d", c.sizes, c.shares, d.EpochBlocks(), d.EpochTokens(), tokens)
		}
		for i, s := range d.Sources() {
			if s.Documents != int64(c.sizes[i]) || s.Tokens != int64(4*c.sizes[i]) || s.EpochTokens != int64(4*c.want[i]) {
				t.Errorf("%v with %v: source %d is %+v", c.sizes, c.shares, i, s)
			}
		}
	}
}

// A source that isn't read a whole number of times an epoch goes on in the next: over
// the epochs its blocks come equally often, but for one.
func TestEveryBlockComesEquallyOften(t *testing.T) {
	d, err := mix(t, []int{7, 10}, []float64{1, 1})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int32]int{}
	for epoch := range 5 {
		for _, b := range d.epoch(7, epoch) {
			if b < 7 {
				seen[b]++
			}
		}
		low, high := math.MaxInt, 0
		for b := range int32(7) {
			low, high = min(low, seen[b]), max(high, seen[b])
		}
		if high-low > 1 {
			t.Errorf("after epoch %d blocks came %d to %d times", epoch, low, high)
		}
	}
}

// Any step of a mixture can be asked for at any time, and its tokens are counted exactly
// though blocks differ in length.
func TestPlanOfAMixture(t *testing.T) {
	o := options(16)
	o.Packing = scu.PackOff
	var b strings.Builder
	for i := range 9 {
		fmt.Fprintf(&b, `{"text":"%s"}`+"\n", strings.Repeat(fmt.Sprintf("%d ", i+1), i+1))
	}
	a, _ := open(t, "a.jsonl", b.String(), numbers{}, o)
	c, _ := open(t, "c.jsonl", rowsOf(101, 31), numbers{}, o)
	d, err := Mix([]*Dataset{a, c}, []float64{1, 1})
	if err != nil {
		t.Fatal(err)
	}
	config := PlanConfig{BatchSize: 3, Accumulation: 2, Epochs: 4, Seed: 5}
	p, back := newPlan(t, d, config), newPlan(t, d, config)
	var tokens []int64
	var blocks [][]int
	var sum int64
	for s := range p.Steps() {
		micros, err := p.Step(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range micros {
			for r := range m.Rows {
				for _, id := range m.IDs[r*m.Len : (r+1)*m.Len] {
					sum++
					if id == eos {
						break // and what pads the row
					}
				}
			}
		}
		step, _ := rows(t, p, s)
		blocks, tokens = append(blocks, step), append(tokens, sum)
		if p.Tokens(s) != sum {
			t.Errorf("step %d: %d tokens, counted %d", s, p.Tokens(s), sum)
		}
	}
	for s := back.Steps() - 1; s >= 0; s-- {
		if step, _ := rows(t, back, s); back.Tokens(s) != tokens[s] || !slices.Equal(step, blocks[s]) {
			t.Errorf("step %d asked for out of turn: %d tokens, %v", s, back.Tokens(s), step)
		}
	}
	if mean := float64(sum) / 4; math.Abs(mean-float64(d.EpochTokens())) > 16 {
		t.Errorf("an epoch has %.1f tokens, said to be %d", mean, d.EpochTokens())
	}
}

// Validation is held out of each source, and what is held out of one isn't trained on
// in another; shares repeat what is left.
func TestAMixtureHoldsEachSourceOut(t *testing.T) {
	o := options(4)
	o.Packing = scu.PackOff
	a, _ := open(t, "a.jsonl", rowsOf(1, 40), numbers{}, o)
	b, _ := open(t, "b.jsonl", rowsOf(21, 40), numbers{}, o) // half of it is in a too
	d, err := Mix([]*Dataset{a, b}, []float64{3, 1})
	if err != nil {
		t.Fatal(err)
	}
	for seed := range int64(20) {
		train, val, err := d.Split(0.1, seed)
		if err != nil {
			t.Fatal(err)
		}
		if n := Shared(train, val); n > 0 {
			t.Errorf("seed %d: %d documents on both sides", seed, n)
		}
		if train.Documents()+val.Documents() != 80 {
			t.Errorf("seed %d: %d and %d documents of 80", seed, train.Documents(), val.Documents())
		}
		for i, s := range val.Sources() {
			if s.Documents < 4 || s.EpochTokens != s.Tokens {
				t.Errorf("seed %d: %+v is held out of source %d", seed, s, i)
			}
		}
		s := train.Sources()
		if got, want := float64(s[0].EpochTokens)/float64(s[1].EpochTokens), 3.; math.Abs(got-want) > 0.05 {
			t.Errorf("seed %d: the shares are as %.3f to 1", seed, got)
		}
	}
}

func TestMixRefusesWhatIsTooSmall(t *testing.T) {
	_, err := mix(t, []int{2, 300}, []float64{1, 1})
	if e := scu.AsError(err); err == nil || e.Code != scu.CodeInvalid || e.Field != "train_data[0].share" || !strings.Contains(e.Message, "150 times") {
		t.Errorf("%v", err)
	}
}
