package tokenizer

import (
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Character classes. The splitters ask for the class of every character, so the classes they use are
// bits in one table; the classes that only some normalisers use are predicates at the end.
const (
	cLetter  = 1 << iota // \p{L}
	cNumber              // \p{N}
	cSpace               // \s, White_Space
	cNewline             // \r \n
	cUpper               // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
	cLower               // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
	cNumeric             // Rust's char::is_numeric
	cWord                // \w of Rust's regex crate
	cPunct               // Punctuation's and BertPreTokenizer's punctuation
)

type class uint16

// classTable gives a rune's classes; pages without any share one empty page.
type classTable struct {
	pages [(unicode.MaxRune + 1) >> 8]*[256]class
}

var classes = sync.OnceValue(func() *classTable {
	t, empty := &classTable{}, new([256]class)
	for i := range t.pages {
		t.pages[i] = empty
	}
	page := func(r rune) *class {
		p := &t.pages[r>>8]
		if *p == empty {
			*p = new([256]class)
		}
		return &(*p)[r&0xff]
	}
	add := func(bit class, diff []runeRange, tables ...*unicode.RangeTable) {
		for _, table := range tables {
			for _, r := range table.R16 {
				for c := rune(r.Lo); c <= rune(r.Hi); c += rune(r.Stride) {
					*page(c) |= bit
				}
			}
			for _, r := range table.R32 {
				for c := rune(r.Lo); c <= rune(r.Hi); c += rune(r.Stride) {
					*page(c) |= bit
				}
			}
		}
		for _, r := range diff {
			for c := r.lo; c <= r.hi; c++ {
				*page(c) ^= bit
			}
		}
	}
	younger := func(categories ...string) (list []runeRange) {
		for _, name := range categories {
			list = append(list, unicode16[name]...)
		}
		return list
	}
	add(cLetter, younger("Lu", "Ll", "Lm", "Lo"), unicode.L)
	add(cNumber, younger("Nd"), unicode.N)
	add(cSpace, nil, unicode.White_Space)
	add(cUpper, younger("Lu", "Lm", "Lo", "Mn", "Mc"), unicode.Lu, unicode.Lt, unicode.Lm, unicode.Lo, unicode.M)
	add(cLower, younger("Ll", "Lm", "Lo", "Mn", "Mc"), unicode.Ll, unicode.Lm, unicode.Lo, unicode.M)
	add(cNumeric, append(younger("Nd"), numeric17...), unicode.N)
	add(cWord, younger("Lu", "Ll", "Lm", "Lo", "Mn", "Mc", "Nd"), unicode.L, unicode.M, unicode.Nd, unicode.Nl,
		unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
	add(cPunct, punctDiff, unicode.P)
	*page('\r') |= cNewline
	*page('\n') |= cNewline
	return t
})

func (t *classTable) of(r rune) class { return t.pages[r>>8][r&0xff] }

// at gives the class of the rune at s[i:] and the rune's length.
func (t *classTable) at(s string, i int) (class, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return t.pages[0][c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return t.of(r), n
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
