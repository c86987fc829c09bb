package regex

import (
	"cmp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Range is an inclusive range of characters.
type Range struct{ Lo, Hi rune }

// Set is a set of characters: sorted ranges that do not touch.
type Set []Range

// Union gives the characters of either set.
func (c Set) Union(d Set) Set {
	all := slices.Concat(c, d)
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.Lo, b.Lo) })
	out := all[:0]
	for _, r := range all {
		if last := len(out) - 1; last >= 0 && r.Lo <= out[last].Hi+1 {
			out[last].Hi = max(out[last].Hi, r.Hi)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func (c Set) negate() (out Set) {
	from := rune(0)
	for _, r := range c {
		if r.Lo > from {
			out = append(out, Range{from, r.Lo - 1})
		}
		from = r.Hi + 1
	}
	if from <= utf8.MaxRune {
		out = append(out, Range{from, utf8.MaxRune})
	}
	return out
}

func (c Set) intersect(d Set) Set { return c.negate().Union(d.negate()).negate() }

// only gives the one character of a set of one, -1 of another set.
func (c Set) only() rune {
	if len(c) == 1 && c[0].Lo == c[0].Hi {
		return c[0].Lo
	}
	return -1
}

// TableSet gives the characters of the tables.
func TableSet(tables ...*unicode.RangeTable) (c Set) {
	for _, table := range tables {
		for _, r := range table.R16 {
			c = appendStrided(c, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range table.R32 {
			c = appendStrided(c, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return c.Union(nil)
}

func appendStrided(c Set, lo, hi, stride rune) Set {
	if stride == 1 {
		return append(c, Range{lo, hi})
	}
	for r := lo; r <= hi; r += stride {
		c = append(c, Range{r, r})
	}
	return c
}

// Property gives the characters of a general category or a script, as of Unicode 16.
func Property(name string) (c Set, ok bool) {
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	if table == nil {
		return nil, false
	}
	return TableSet(table).Union(younger(name)), true
}

// younger gives what Unicode 16 adds to a general category or a script.
func younger(name string) (c Set) {
	for sub, list := range unicode16 {
		if sub == name || len(sub) == 2 && sub[:1] == name {
			c = append(c, list...)
		}
	}
	return c.Union(nil)
}

// folded adds the letters that differ from the set's in case only; ok is false where that takes more
// than the letters of ASCII and what Unicode folds to them.
func (c Set) folded() (out Set, ok bool) {
	out = c
	for _, r := range c {
		if r.Hi >= utf8.RuneSelf {
			return nil, false
		}
		for l := r.Lo; l <= r.Hi; l++ {
			for o := unicode.SimpleFold(l); o != l; o = unicode.SimpleFold(o) {
				out = out.Union(Set{{o, o}})
			}
		}
	}
	return out, true
}
