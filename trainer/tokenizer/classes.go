package tokenizer

import (
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/shannon-control/scu/trainer/tokenizer/internal/regex"
)

// Character classes. The pre-tokenisers that are no patterns ask for the class of every character, so
// their classes are bits in one table; those that only some normalisers use are predicates at the end.
const (
	cSpace   = 1 << iota // White_Space
	cNumeric             // Rust's char::is_numeric
	cWord                // \w of Rust's regex crate
	cPunct               // Punctuation's and BertPreTokenizer's punctuation
)

type class uint8

// classTable gives a rune's classes; pages without any share one empty page.
type classTable struct {
	pages [(unicode.MaxRune + 1) >> 8]*[256]class
}

var classes = sync.OnceValue(func() *classTable {
	t, empty := &classTable{}, new([256]class)
	for i := range t.pages {
		t.pages[i] = empty
	}
	flip := func(bit class, lo, hi rune) {
		for c := lo; c <= hi; c++ {
			page := &t.pages[c>>8]
			if *page == empty {
				*page = new([256]class)
			}
			(*page)[c&0xff] ^= bit
		}
	}
	flipSet := func(bit class, set regex.Set) {
		for _, r := range set {
			flip(bit, r.Lo, r.Hi)
		}
	}
	flipDiff := func(bit class, diff []runeRange) {
		for _, r := range diff {
			flip(bit, r.lo, r.hi)
		}
	}
	flipSet(cSpace, regex.TableSet(unicode.White_Space))
	flipSet(cNumeric, property("N"))
	flipDiff(cNumeric, numeric17)
	word := regex.TableSet(unicode.Other_Alphabetic, unicode.Join_Control)
	for _, name := range []string{"L", "M", "Nd", "Nl", "Pc"} {
		word = word.Union(property(name))
	}
	flipSet(cWord, word)
	flipSet(cPunct, regex.TableSet(unicode.P))
	flipDiff(cPunct, punctDiff)
	return t
})

// property gives the characters of a general category that this file names.
func property(name string) regex.Set {
	set, ok := regex.Property(name)
	if !ok {
		panic(name)
	}
	return set
}

func (t *classTable) of(r rune) class { return t.pages[r>>8][r&0xff] }

// at gives the class of the rune at s[i:] and the rune's length.
func (t *classTable) at(s string, i int) (class, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return t.pages[0][c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return t.of(r), n
}

// run returns the end of the run of runes from i that have one of the classes.
func (t *classTable) run(s string, i int, want class) int {
	for i < len(s) {
		k, n := t.at(s, i)
		if k&want == 0 {
			break
		}
		i += n
	}
	return i
}

// runNot returns the end of the run of runes from i that have none of the classes.
func (t *classTable) runNot(s string, i int, not class) int {
	for i < len(s) {
		k, n := t.at(s, i)
		if k&not != 0 {
			break
		}
		i += n
	}
	return i
}

// inDiff reports whether one of the sorted ranges holds r.
func inDiff(diff []runeRange, r rune) bool {
	_, found := slices.BinarySearchFunc(diff, r, func(d runeRange, r rune) int {
		switch {
		case d.hi < r:
			return -1
		case d.lo > r:
			return 1
		}
		return 0
	})
	return found
}

func isAccent(r rune) bool {
	return r >= 0x300 && unicode.Is(unicode.Mn, r) != inDiff(accentDiff, r)
}

func isMark(r rune) bool {
	return r >= 0x300 && unicode.Is(unicode.M, r) != inDiff(markDiff, r)
}

func isControl(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) != inDiff(controlDiff, r)
}

// isLate tells the runes that normalisation leaves alone because Unicode 9 did not know them.
func isLate(r rune) bool { return r >= lateDiff[0].lo && inDiff(lateDiff, r) }
