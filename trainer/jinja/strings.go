package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// stringMethods are those of Python's str, but for format, which asks for methods itself.
var stringMethods = map[string]method[string]{
	"upper":        plain(upper),
	"lower":        plain(lower),
	"casefold":     plain(func(s string) string { return cases.Fold().String(s) }),
	"capitalize":   plain(capitalize),
	"title":        plain(title),
	"swapcase":     plain(swapCase),
	"strip":        strip(strings.TrimFunc),
	"lstrip":       strip(strings.TrimLeftFunc),
	"rstrip":       strip(strings.TrimRightFunc),
	"split":        split(false),
	"rsplit":       split(true),
	"splitlines":   splitLines,
	"startswith":   affix(strings.HasPrefix),
	"endswith":     affix(strings.HasSuffix),
	"removeprefix": without(strings.TrimPrefix),
	"removesuffix": without(strings.TrimSuffix),
	"replace":      replaceMethod,
	"find":         find(strings.Index, false),
	"rfind":        find(strings.LastIndex, false),
	"index":        find(strings.Index, true),
	"rindex":       find(strings.LastIndex, true),
	"count":        countIn,
	"join":         joinMethod,
	"partition":    partition(strings.Index, false),
	"rpartition":   partition(strings.LastIndex, true),
	"center":       pad(func(n, width int) int { return n/2 + n&width&1 }),
	"ljust":        pad(func(int, int) int { return 0 }),
	"rjust":        pad(func(n, _ int) int { return n }),
	"zfill":        zeroFill,
	"isdigit":      each1(func(c rune) bool { return unicode.IsDigit(c) || isSuperscript(c) }),
	"isdecimal":    each1(unicode.IsDigit),
	"isnumeric":    each1(unicode.IsNumber),
	"isalpha":      each1(unicode.IsLetter),
	"isalnum":      each1(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }),
	"isspace":      each1(isSpace),
	"isascii":      asks(func(s string) bool { return strings.IndexFunc(s, func(c rune) bool { return c > 0x7f }) < 0 }),
	"islower":      asks(func(s string) bool { return hasCase(s, unicode.IsLower, unicode.IsUpper) }),
	"isupper":      asks(func(s string) bool { return hasCase(s, unicode.IsUpper, unicode.IsLower) }),
	"istitle":      asks(func(s string) bool { return s == title(s) && strings.ContainsFunc(s, unicode.IsLetter) }),
}

// otherStringMethods are those that a template gets an error for.
var otherStringMethods = []string{"encode", "expandtabs", "format_map", "isidentifier", "isprintable", "maketrans", "translate"}

// plain is a method that makes another string.
func plain(f func(string) string) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		if _, err := a.read("the method"); err != nil {
			return nil, err
		}
		return r.made(f(s))
	}
}

func asks(f func(string) bool) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		if _, err := a.read("the method"); err != nil {
			return nil, err
		}
		return f(s), r.take(len(s))
	}
}

// each1 asks whether every character is of a kind, and there is one.
func each1(is func(rune) bool) method[string] {
	return asks(func(s string) bool {
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !is(c) }) < 0
	})
}

func isSuperscript(c rune) bool {
	return c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 || c >= 0x2074 && c <= 0x2079 || c >= 0x2080 && c <= 0x2089
}

func upper(s string) string { return cases.Upper(language.Und).String(s) }
func lower(s string) string { return cases.Lower(language.Und).String(s) }

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return titleCase(s[:n]) + lower(s[n:])
}

func titleCase(c string) string { return cases.Title(language.Und, cases.NoLower).String(c) }

// title is str.title: a letter behind none is in title case, others are lower.
func title(s string) string {
	var b strings.Builder
	inside := false
	for _, c := range s {
		if inside {
			b.WriteString(lower(string(c)))
		} else {
			b.WriteString(titleCase(string(c)))
		}
		inside = unicode.IsLetter(c) && (unicode.IsUpper(c) || unicode.IsLower(c) || unicode.IsTitle(c))
	}
	return b.String()
}

// titleOf is the filter title: words begin behind white space and brackets.
func titleOf(s string) string {
	var b strings.Builder
	start := true
	for _, c := range s {
		breaks := isSpace(c) || strings.ContainsRune("-({[<", c)
		if start {
			b.WriteString(upper(string(c)))
		} else {
			b.WriteString(lower(string(c)))
		}
		start = breaks
	}
	return b.String()
}

func swapCase(s string) string {
	var b strings.Builder
	for _, c := range s {
		if unicode.IsUpper(c) {
			b.WriteString(lower(string(c)))
		} else {
			b.WriteString(upper(string(c)))
		}
	}
	return b.String()
}

func strip(trim func(string, func(rune) bool) string) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		v, err := a.read("strip", "chars?")
		if err != nil {
			return nil, err
		}
		set := or(v[0], nil)
		if set == nil {
			return trim(s, isSpace), r.take(len(s))
		}
		chars, err := textOf(set, "what is stripped")
		if err != nil {
			return nil, err
		}
		in := map[rune]bool{}
		for _, c := range chars {
			in[c] = true
		}
		return trim(s, func(c rune) bool { return in[c] }), r.take(len(s) + len(chars))
	}
}

func split(fromEnd bool) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		v, err := a.read("split", "sep?", "maxsplit?")
		if err != nil {
			return nil, err
		}
		most, err := wholeOf(or(v[1], int64(-1)), "maxsplit")
		if err != nil {
			return nil, err
		}
		if most < 0 {
			most = int64(len(s)) + 1
		}
		var parts []string
		if sep := or(v[0], nil); sep == nil {
			parts = splitSpace(s, int(min(most, int64(len(s)+1))), fromEnd)
		} else {
			by, err := textOf(sep, "the separator of split")
			if err != nil {
				return nil, err
			}
			if by == "" {
				return nil, errors.New("an empty separator")
			}
			parts = splitBy(s, by, int(min(most, int64(len(s)+1))), fromEnd)
		}
		if err := r.hold(int64(len(s)) + int64(len(parts))*2*sizeOfItem); err != nil {
			return nil, err
		}
		out := make(List, len(parts))
		for i, p := range parts {
			out[i] = p
		}
		return out, nil
	}
}

// splitBy splits s at most times, from its end if so asked.
func splitBy(s, by string, most int, fromEnd bool) []string {
	if !fromEnd {
		return strings.SplitN(s, by, most+1)
	}
	var parts []string
	for ; most > 0; most-- {
		i := strings.LastIndex(s, by)
		if i < 0 {
			break
		}
		parts, s = append(parts, s[i+len(by):]), s[:i]
	}
	return backwards(append(parts, s))
}

func backwards(parts []string) []string {
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return parts
}

func splitSpace(s string, most int, fromEnd bool) []string {
	parts := []string{}
	if fromEnd {
		for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
			i := strings.LastIndexFunc(s, isSpace)
			if i < 0 || most == 0 {
				return backwards(append(parts, s))
			}
			_, n := utf8.DecodeRuneInString(s[i:])
			parts, s, most = append(parts, s[i+n:]), s[:i], most-1
		}
		return backwards(parts)
	}
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		i := strings.IndexFunc(s, isSpace)
		if i < 0 || most == 0 {
			return append(parts, s)
		}
		parts, s, most = append(parts, s[:i]), s[i:], most-1
	}
	return parts
}

func splitLines(r *rendering, s string, a args) (any, error) {
	v, err := a.read("splitlines", "keepends?")
	if err != nil {
		return nil, err
	}
	if err := r.take(len(s)); err != nil {
		return nil, err
	}
	return r.listed(lines(s, truth(or(v[0], false))))
}

// affix asks for a beginning or an end, one or any of a tuple.
func affix(has func(s, part string) bool) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		if err := a.onlyList(); err != nil {
			return nil, err
		}
		v, err := a.read("the method", "affix", "start?", "end?")
		if err != nil {
			return nil, err
		}
		part, fits, err := r.part(s, v[1], v[2])
		if err != nil {
			return nil, err
		}
		all, isTuple := v[0].(Tuple)
		if !isTuple {
			all = Tuple{v[0]}
		}
		for _, one := range all {
			p, err := textOf(one, "what is looked for")
			if err != nil {
				return nil, err
			}
			if err := r.take(len(p)); err != nil {
				return nil, err
			}
			if fits && has(part, p) {
				return true, nil
			}
		}
		return false, nil
	}
}

// part is s[from:to]; false where from is beyond the end.
func (r *rendering) part(s string, from, to any) (string, bool, error) {
	from, to = or(from, nil), or(to, nil)
	if from == nil && to == nil {
		return s, true, nil
	}
	n := runeCount(s)
	start, end, _, err := span([3]any{from, to, nil}, n)
	if err != nil {
		return "", false, err
	}
	first, _, _, _ := number(from)
	return cut(s, start, 1, end-start), first <= int64(n) && end >= start, r.take(len(s))
}

func without(trim func(s, part string) string) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		v, err := a.read("the method", "affix")
		if err != nil {
			return nil, err
		}
		p, err := textOf(v[0], "what is removed")
		if err != nil {
			return nil, err
		}
		return r.made(trim(s, p))
	}
}

func replaceMethod(r *rendering, s string, a args) (any, error) {
	if err := a.onlyList(); err != nil {
		return nil, err
	}
	v, err := a.read("replace", "old", "new", "count?")
	if err != nil {
		return nil, err
	}
	old, err := textOf(v[0], "what is replaced")
	if err != nil {
		return nil, err
	}
	with, err := textOf(v[1], "the replacement")
	if err != nil {
		return nil, err
	}
	n, err := wholeOf(or(v[2], int64(-1)), "the count of replace")
	if err != nil {
		return nil, err
	}
	return r.replaced(s, old, with, n)
}

func find(index func(s, part string) int, must bool) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		if err := a.onlyList(); err != nil {
			return nil, err
		}
		v, err := a.read("find", "sub", "start?", "end?")
		if err != nil {
			return nil, err
		}
		sub, err := textOf(v[0], "what is looked for")
		if err != nil {
			return nil, err
		}
		part, fits, err := r.part(s, v[1], v[2])
		if err != nil {
			return nil, err
		}
		if err := r.take(len(s) + len(sub)); err != nil {
			return nil, err
		}
		if i := index(part, sub); fits && i >= 0 {
			from, _, _, err := span([3]any{or(v[1], nil), nil, nil}, runeCount(s))
			return int64(from + runeCount(part[:i])), err
		}
		if must {
			return nil, errors.New("substring not found")
		}
		return int64(-1), nil
	}
}

func countIn(r *rendering, s string, a args) (any, error) {
	if err := a.onlyList(); err != nil {
		return nil, err
	}
	v, err := a.read("count", "sub", "start?", "end?")
	if err != nil {
		return nil, err
	}
	sub, err := textOf(v[0], "what is counted")
	if err != nil {
		return nil, err
	}
	part, fits, err := r.part(s, v[1], v[2])
	if err != nil || !fits {
		return int64(0), err
	}
	return int64(strings.Count(part, sub)), r.take(len(s))
}

func joinMethod(r *rendering, s string, a args) (any, error) {
	if err := a.onlyList(); err != nil {
		return nil, err
	}
	v, err := a.read("join", "iterable")
	if err != nil {
		return nil, err
	}
	items, err := r.collect(v[0])
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, item := range items {
		t, ok := stringOf(item)
		if !ok {
			return nil, fmt.Errorf("item %d is %s, want a string", i, typeName(item))
		}
		if i > 0 {
			b.WriteString(s)
		}
		if err := r.hold(int64(len(s) + len(t))); err != nil {
			return nil, err
		}
		b.WriteString(t)
	}
	return b.String(), nil
}

func partition(index func(s, part string) int, fromEnd bool) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		v, err := a.read("partition", "sep")
		if err != nil {
			return nil, err
		}
		by, err := textOf(v[0], "the separator of partition")
		if err != nil {
			return nil, err
		}
		if by == "" {
			return nil, errors.New("an empty separator")
		}
		if err := r.hold(int64(len(s))); err != nil {
			return nil, err
		}
		i := index(s, by)
		switch {
		case i >= 0:
			return Tuple{s[:i], by, s[i+len(by):]}, nil
		case fromEnd:
			return Tuple{"", "", s}, nil
		}
		return Tuple{s, "", ""}, nil
	}
}

// pad fills up to a width; before is how much of n stands before the text.
func pad(before func(n, width int) int) method[string] {
	return func(r *rendering, s string, a args) (any, error) {
		if err := a.onlyList(); err != nil {
			return nil, err
		}
		v, err := a.read("the method", "width", "fillchar?")
		if err != nil {
			return nil, err
		}
		width, err := wholeOf(v[0], "the width")
		if err != nil {
			return nil, err
		}
		fill, err := textOf(or(v[1], " "), "what fills")
		if err != nil {
			return nil, err
		}
		if runeCount(fill) != 1 {
			return nil, errors.New("one character fills")
		}
		n := width - int64(runeCount(s))
		if n <= 0 {
			return s, nil
		}
		if err := r.hold(int64(len(s)) + times(n, int64(len(fill)))); err != nil {
			return nil, err
		}
		left := before(int(n), int(width))
		return strings.Repeat(fill, left) + s + strings.Repeat(fill, int(n)-left), nil
	}
}

func zeroFill(r *rendering, s string, a args) (any, error) {
	v, err := a.read("zfill", "width")
	if err != nil {
		return nil, err
	}
	width, err := wholeOf(v[0], "the width")
	if err != nil {
		return nil, err
	}
	n := width - int64(runeCount(s))
	if n <= 0 {
		return s, nil
	}
	if err := r.hold(int64(len(s)) + n); err != nil {
		return nil, err
	}
	sign := ""
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		sign, s = s[:1], s[1:]
	}
	return sign + strings.Repeat("0", int(n)) + s, nil
}
