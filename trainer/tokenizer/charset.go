package tokenizer

import (
	"cmp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// charset is a set of characters: sorted ranges that do not touch.
type charset []runeRange

func (c charset) union(d charset) charset {
	all := slices.Concat(c, d)
	slices.SortFunc(all, func(a, b runeRange) int { return cmp.Compare(a.lo, b.lo) })
	out := all[:0]
	for _, r := range all {
		if last := len(out) - 1; last >= 0 && r.lo <= out[last].hi+1 {
			out[last].hi = max(out[last].hi, r.hi)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func (c charset) negate() (out charset) {
	from := rune(0)
	for _, r := range c {
		if r.lo > from {
			out = append(out, runeRange{from, r.lo - 1})
		}
		from = r.hi + 1
	}
	if from <= utf8.MaxRune {
		out = append(out, runeRange{from, utf8.MaxRune})
	}
	return out
}

func (c charset) intersect(d charset) charset { return c.negate().union(d.negate()).negate() }

// only gives the one character of a set of one, -1 of another set.
func (c charset) only() rune {
	if len(c) == 1 && c[0].lo == c[0].hi {
		return c[0].lo
	}
	return -1
}

func tableSet(tables ...*unicode.RangeTable) (c charset) {
	for _, table := range tables {
		for _, r := range table.R16 {
			c = appendStrided(c, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range table.R32 {
			c = appendStrided(c, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return c.union(nil)
}

func appendStrided(c charset, lo, hi, stride rune) charset {
	if stride == 1 {
		return append(c, runeRange{lo, hi})
	}
	for r := lo; r <= hi; r += stride {
		c = append(c, runeRange{r, r})
	}
	return c
}

// property gives the characters of a general category or a script, as of Unicode 16.
func property(name string) (c charset, ok bool) {
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	if table == nil {
		return nil, false
	}
	return tableSet(table).union(younger(name)), true
}

func mustProperty(name string) charset {
	c, ok := property(name)
	if !ok {
		panic(name) // is written in this package
	}
	return c
}

// younger gives what Unicode 16 adds to a general category or a script.
func younger(name string) (c charset) {
	for sub, list := range unicode16 {
		if sub == name || len(sub) == 2 && sub[:1] == name {
			c = append(c, list...)
		}
	}
	return c.union(nil)
}

// folded adds the letters that differ from the set's in case only; ok is false where that takes more
// than the letters of ASCII and what Unicode folds to them.
func (c charset) folded() (out charset, ok bool) {
	out = c
	for _, r := range c {
		if r.hi >= utf8.RuneSelf {
			return nil, false
		}
		for l := r.lo; l <= r.hi; l++ {
			for o := unicode.SimpleFold(l); o != l; o = unicode.SimpleFold(o) {
				out = out.union(charset{{o, o}})
			}
		}
	}
	return out, true
}
