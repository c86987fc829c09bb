package jinja

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// filter is what may follow a bar: what it makes of in.
type filter func(r *rendering, in any, a args) (any, error)

var filters = map[string]filter{
	"abs":         absolute,
	"attr":        attributeOf,
	"batch":       batch,
	"capitalize":  ofText(capitalize),
	"center":      center,
	"count":       lengthOf,
	"d":           fallback,
	"default":     fallback,
	"dictsort":    dictSort,
	"e":           escaped,
	"escape":      escaped,
	"first":       first,
	"float":       toFloat,
	"forceescape": escaped,
	"format":      format,
	"groupby":     groupBy,
	"indent":      indent,
	"int":         toInt,
	"items":       itemsOf,
	"join":        join,
	"last":        last,
	"length":      lengthOf,
	"list":        toList,
	"lower":       ofText(lower),
	"map":         mapped,
	"max":         extreme(1),
	"min":         extreme(-1),
	"reject":      selected(false, false),
	"rejectattr":  selected(false, true),
	"replace":     replace,
	"reverse":     reverse,
	"round":       round,
	"safe":        safe,
	"select":      selected(true, false),
	"selectattr":  selected(true, true),
	"slice":       slice,
	"sort":        sorted,
	"string":      toString,
	"sum":         sum,
	"title":       ofText(titleOf),
	"tojson":      toJSON,
	"trim":        trim,
	"truncate":    truncate,
	"unique":      unique,
	"upper":       ofText(upper),
	"wordcount":   wordCount,
}

// ofText is a filter that makes another text of str(in).
func ofText(f func(string) string) filter {
	return func(r *rendering, in any, a args) (any, error) {
		if _, err := a.read("the filter"); err != nil {
			return nil, err
		}
		s, err := r.str(in)
		if err != nil {
			return nil, err
		}
		out, err := r.made(f(s))
		if _, isMarkup := in.(markup); isMarkup && err == nil {
			return markup(out.(string)), nil
		}
		return out, err
	}
}

func absolute(_ *rendering, in any, a args) (any, error) {
	if _, err := a.read("abs"); err != nil {
		return nil, err
	}
	i, f, whole, ok := number(in)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s has no absolute value", typeName(in))
	case !whole:
		return math.Abs(f), nil
	case i == math.MinInt64:
		return nil, errBeyond
	case i < 0:
		return -i, nil
	}
	return i, nil
}

func attributeOf(r *rendering, in any, a args) (any, error) {
	v, err := a.read("attr", "name")
	if err != nil {
		return nil, err
	}
	n, err := textOf(v[0], "the name for attr")
	if err != nil {
		return nil, err
	}
	if u, is := in.(*undefined); is {
		return nil, u.fail()
	}
	own, ok, err := r.own(in, n)
	if ok || err != nil {
		return own, err
	}
	return &undefined{fmt.Sprintf("%s has no attribute %q", objectName(in), n)}, nil
}

func batch(r *rendering, in any, a args) (any, error) {
	v, err := a.read("batch", "linecount", "fill_with?")
	if err != nil {
		return nil, err
	}
	size, err := wholeOf(v[0], "the size of a batch")
	if err != nil {
		return nil, err
	}
	return generator(func() (*iterator, error) { return r.batches(in, size, or(v[1], nil)) }), nil
}

// batches cuts in into lists of one size; fill, unless it is nil, fills the last.
func (r *rendering) batches(in any, size int64, fill any) (*iterator, error) {
	items, err := r.collect(in)
	if err != nil {
		return nil, err
	}
	if size < 1 {
		return nil, errors.New("a batch has no size")
	}
	out := []any{}
	for part := range slices.Chunk(items, int(min(size, int64(len(items))+1))) {
		part = slices.Clone(part)
		if fill != nil && int64(len(part)) < size {
			if err := r.hold(times(size, sizeOfItem)); err != nil {
				return nil, err
			}
			for int64(len(part)) < size {
				part = append(part, fill)
			}
		}
		out = append(out, List(part))
	}
	return each(len(out), func(i int) any { return out[i] }), r.hold(int64(len(items)) * sizeOfItem)
}

func slice(r *rendering, in any, a args) (any, error) {
	v, err := a.read("slice", "slices", "fill_with?")
	if err != nil {
		return nil, err
	}
	n, err := wholeOf(v[0], "the number of slices")
	if err != nil {
		return nil, err
	}
	return generator(func() (*iterator, error) { return r.columns(in, n, or(v[1], nil)) }), nil
}

// columns cuts in into n lists, the first the longest; fill, unless it is nil, makes
// the others as long.
func (r *rendering) columns(in any, n int64, fill any) (*iterator, error) {
	items, err := r.collect(in)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("division by zero")
	}
	n = max(n, 0)
	if err := r.hold(times(n, 2*sizeOfItem)); err != nil {
		return nil, err
	}
	out := []any{}
	at := int64(0)
	for i := range n {
		size := int64(len(items)) / n
		more := i < int64(len(items))%n
		if more {
			size++
		}
		part := slices.Clone(items[at : at+size])
		if fill != nil && !more {
			part = append(part, fill)
		}
		out, at = append(out, List(part)), at+size
	}
	return each(len(out), func(i int) any { return out[i] }), nil
}

func center(r *rendering, in any, a args) (any, error) {
	v, err := a.read("center", "width?")
	if err != nil {
		return nil, err
	}
	s, err := r.str(in)
	if err != nil {
		return nil, err
	}
	return stringMethods["center"](r, s, args{list: []any{or(v[0], int64(80))}})
}

func lengthOf(_ *rendering, in any, a args) (any, error) {
	if _, err := a.read("length"); err != nil {
		return nil, err
	}
	n, sized := length(in)
	if !sized {
		return nil, fmt.Errorf("%s has no length", typeName(in))
	}
	return int64(n), nil
}

func fallback(_ *rendering, in any, a args) (any, error) {
	v, err := a.read("default", "default_value?", "boolean?")
	if err != nil {
		return nil, err
	}
	if _, is := in.(*undefined); is || truth(or(v[1], false)) && !truth(in) {
		return or(v[0], ""), nil
	}
	return in, nil
}

func escaped(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("escape"); err != nil {
		return nil, err
	}
	if m, is := in.(markup); is {
		return m, nil
	}
	s, err := r.str(in)
	if err != nil {
		return nil, err
	}
	return markup(escape(s)), r.hold(int64(len(s)) * 5)
}

func safe(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("safe"); err != nil {
		return nil, err
	}
	s, err := r.str(in)
	return markup(s), err
}

func toString(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("string"); err != nil {
		return nil, err
	}
	if _, is := stringOf(in); is {
		return in, nil
	}
	return r.str(in)
}

func first(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("first"); err != nil {
		return nil, err
	}
	it, err := iterate(in)
	if err != nil {
		return nil, err
	}
	v, ok, err := it.next()
	if err == nil && !ok {
		return &undefined{"there is no first item"}, nil
	}
	return v, err
}

func last(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("last"); err != nil {
		return nil, err
	}
	if n, sized := length(in); sized {
		if err := r.take(n); err != nil {
			return nil, err
		}
	}
	it, ok := reversed(in)
	if !ok {
		return nil, fmt.Errorf("%s has no last item; make a list of it first", typeName(in))
	}
	v, ok, err := it.next()
	if err == nil && !ok {
		return &undefined{"there is no last item"}, nil
	}
	return v, err
}

func reverse(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("reverse"); err != nil {
		return nil, err
	}
	if s, ok := stringOf(in); ok {
		all := []rune(s)
		slices.Reverse(all)
		return r.made(string(all))
	}
	if it, ok := reversed(in); ok {
		it.name = "reversed"
		return it, nil
	}
	items, err := r.collect(in)
	slices.Reverse(items)
	return List(items), err
}

func toFloat(r *rendering, in any, a args) (any, error) {
	v, err := a.read("float", "default?")
	if err != nil {
		return nil, err
	}
	if u, is := in.(*undefined); is {
		return nil, u.fail()
	}
	if _, f, _, ok := number(in); ok {
		return f, nil
	}
	if s, ok := stringOf(in); ok {
		if f, ok := parseFloat(s); ok {
			return f, nil
		}
	}
	return or(v[0], 0.0), nil
}

func toInt(r *rendering, in any, a args) (any, error) {
	v, err := a.read("int", "default?", "base?")
	if err != nil {
		return nil, err
	}
	base, err := wholeOf(or(v[1], int64(10)), "the base for int")
	if err != nil {
		return nil, err
	}
	if u, is := in.(*undefined); is {
		return nil, u.fail()
	}
	if n, is := in.(wideNumber); is {
		return n, nil
	}
	i, f, whole, ok := number(in)
	if s, isText := stringOf(in); isText {
		if i, whole = parseInt(s, int(base)); !whole {
			f, ok = parseFloat(s)
		} else {
			ok = true
		}
	}
	if !ok {
		return or(v[0], int64(0)), nil
	}
	if !whole {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return or(v[0], int64(0)), nil
		}
		if math.Abs(f) >= 1<<63 {
			return nil, errBeyond
		}
		return int64(f), nil
	}
	return i, nil
}

// digits is a text without the underscores that Python allows between digits; false
// if one stands elsewhere.
func digits(s string) (string, bool) {
	s = strings.TrimFunc(s, isSpace)
	for i := range len(s) {
		if s[i] == '_' && (i == 0 || i == len(s)-1 || !isHex(s[i-1]) || !isHex(s[i+1])) {
			return "", false
		}
	}
	return strings.ReplaceAll(s, "_", ""), true
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }

// parseInt is Python's int(s, base).
func parseInt(s string, base int) (int64, bool) {
	s, ok := digits(s)
	if !ok || base < 2 || base > 36 {
		return 0, false
	}
	unsigned := strings.TrimLeft(s, "+-")
	if prefix := map[int]string{2: "0b", 8: "0o", 16: "0x"}[base]; prefix != "" && len(unsigned) > 2 && strings.EqualFold(unsigned[:2], prefix) {
		s = s[:len(s)-len(unsigned)] + unsigned[2:]
	}
	i, err := strconv.ParseInt(s, base, 64)
	return i, err == nil
}

// parseFloat is Python's float(s).
func parseFloat(s string) (float64, bool) {
	s, ok := digits(s)
	if !ok || strings.ContainsAny(s, "xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || math.IsInf(f, 0) || f == 0 && errors.Is(err, strconv.ErrRange)
}

func format(r *rendering, in any, a args) (any, error) {
	s, err := r.str(in)
	if err != nil {
		return nil, err
	}
	switch {
	case len(a.list) > 0 && len(a.names) > 0:
		return nil, errors.New("format takes its arguments by place or by name, not both")
	case len(a.names) > 0:
		d := &Dict{}
		for i, n := range a.names {
			d.set(n, a.values[i])
		}
		return r.percent(s, d)
	}
	return r.percent(s, Tuple(a.list))
}

func indent(r *rendering, in any, a args) (any, error) {
	v, err := a.read("indent", "width?", "first?", "blank?")
	if err != nil {
		return nil, err
	}
	s, err := textOf(in, "what is indented")
	if err != nil {
		return nil, err
	}
	by, ok := stringOf(or(v[0], int64(4)))
	if !ok {
		n, err := wholeOf(or(v[0], int64(4)), "the width of indent")
		if err != nil {
			return nil, err
		}
		if err := r.hold(n); n > 0 && err != nil {
			return nil, err
		}
		by = strings.Repeat(" ", int(max(n, 0)))
	}
	all := lines(s+"\n", false)
	if err := r.hold(int64(len(s)) + times(int64(len(all))+1, int64(len(by)))); err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, l := range all {
		l := l.(string)
		if i > 0 {
			b.WriteByte('\n')
		}
		if i > 0 && (l != "" || truth(or(v[2], false))) || i == 0 && truth(or(v[1], false)) {
			b.WriteString(by)
		}
		b.WriteString(l)
	}
	return b.String(), nil
}

func itemsOf(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("items"); err != nil {
		return nil, err
	}
	switch v := in.(type) {
	case *undefined:
		return each(0, nil), nil
	case *Dict:
		return each(len(v.keys), view{v, "items"}.item), nil
	}
	return &iterator{"generator", func() (any, bool, error) {
		return nil, false, fmt.Errorf("%s has no items, want a dict", typeName(in))
	}}, nil
}

func join(r *rendering, in any, a args) (any, error) {
	v, err := a.read("join", "d?", "attribute?")
	if err != nil {
		return nil, err
	}
	between, err := r.str(or(v[0], ""))
	if err != nil {
		return nil, err
	}
	get := r.getter(or(v[1], nil), nil)
	it, err := iterate(in)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for first := true; ; first = false {
		item, ok, err := it.next()
		if err != nil || !ok {
			return b.String(), err
		}
		if item, err = get(item); err != nil {
			return nil, err
		}
		s, err := r.str(item)
		if err != nil {
			return nil, err
		}
		if err := r.hold(int64(len(between) + len(s))); err != nil {
			return nil, err
		}
		if !first {
			b.WriteString(between)
		}
		b.WriteString(s)
	}
}

func toList(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("list"); err != nil {
		return nil, err
	}
	items, err := r.collect(in)
	return List(items), err
}

func replace(r *rendering, in any, a args) (any, error) {
	v, err := a.read("replace", "old", "new", "count?")
	if err != nil {
		return nil, err
	}
	var parts [3]string
	for i, part := range []any{in, v[0], v[1]} {
		if parts[i], err = r.str(part); err != nil {
			return nil, err
		}
	}
	n := int64(-1)
	if count := or(v[2], nil); count != nil {
		if n, err = wholeOf(count, "the count of replace"); err != nil {
			return nil, err
		}
	}
	return r.replaced(parts[0], parts[1], parts[2], n)
}

// replaced replaces at most n times; all where n is below 0.
func (r *rendering) replaced(s, old, with string, n int64) (any, error) {
	count := int64(strings.Count(s, old))
	if n >= 0 {
		count = min(count, n)
	}
	if err := r.hold(int64(len(s)) + times(count, int64(len(with)))); err != nil {
		return nil, err
	}
	return strings.Replace(s, old, with, int(count)), nil
}

func round(_ *rendering, in any, a args) (any, error) {
	v, err := a.read("round", "precision?", "method?")
	if err != nil {
		return nil, err
	}
	precision, err := wholeOf(or(v[0], int64(0)), "the precision of round")
	if err != nil {
		return nil, err
	}
	i, f, whole, ok := number(in)
	if !ok {
		return nil, fmt.Errorf("%s can't be rounded", typeName(in))
	}
	power := math.Pow(10, float64(precision))
	switch or(v[1], "common") {
	case "common":
		if whole && precision >= 0 {
			return i, nil
		}
		if whole {
			return int64(math.RoundToEven(float64(i)/math.Pow(10, float64(-precision))) * math.Pow(10, float64(-precision))), nil
		}
		if precision < 0 || precision > 22 {
			return math.RoundToEven(f*power) / power, nil
		}
		// The decimal digits decide, as in Python.
		return strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(precision), 64), 64)
	case "ceil":
		f = math.Ceil(f*power) / power
	case "floor":
		f = math.Floor(f*power) / power
	default:
		return nil, errors.New("the method of round is common, ceil or floor")
	}
	return f, nil
}

func trim(r *rendering, in any, a args) (any, error) {
	v, err := a.read("trim", "chars?")
	if err != nil {
		return nil, err
	}
	s, err := r.str(in)
	if err != nil {
		return nil, err
	}
	out, err := stringMethods["strip"](r, s, args{list: []any{or(v[0], nil)}})
	if _, isMarkup := in.(markup); isMarkup && err == nil {
		return markup(out.(string)), nil
	}
	return out, err
}

func truncate(r *rendering, in any, a args) (any, error) {
	v, err := a.read("truncate", "length?", "killwords?", "end?", "leeway?")
	if err != nil {
		return nil, err
	}
	n, err := wholeOf(or(v[0], int64(255)), "the length for truncate")
	if err != nil {
		return nil, err
	}
	end, err := textOf(or(v[2], "..."), "the end for truncate")
	if err != nil {
		return nil, err
	}
	leeway := int64(5)
	if given := or(v[3], nil); given != nil {
		if leeway, err = wholeOf(given, "the leeway of truncate"); err != nil {
			return nil, err
		}
	}
	keep := n - int64(runeCount(end))
	if keep < 0 || leeway < 0 {
		return nil, errors.New("truncate to less than its end")
	}
	if have, sized := length(in); sized && int64(have) <= n+leeway {
		return in, r.take(have)
	}
	s, err := textOf(in, "what is truncated")
	if err != nil {
		return nil, err
	}
	s = cut(s, 0, 1, int(keep))
	if !truth(or(v[1], false)) {
		if i := strings.LastIndexByte(s, ' '); i >= 0 {
			s = s[:i]
		}
	}
	return r.made(s + end)
}

func wordCount(r *rendering, in any, a args) (any, error) {
	if _, err := a.read("wordcount"); err != nil {
		return nil, err
	}
	s, err := r.str(in)
	if err != nil {
		return nil, err
	}
	words := strings.FieldsFunc(s, func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsNumber(c) })
	return int64(len(words)), r.take(len(s))
}
