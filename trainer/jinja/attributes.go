package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkAttribute refuses the names that Transformers doesn't let a namespace have.
func checkAttribute(n string) error {
	if strings.HasPrefix(n, "_") {
		return fmt.Errorf("a namespace can't have the attribute %q: it begins with _", n)
	}
	return nil
}

// attribute is `of.n`: a method or attribute, else the member with that name.
func (r *rendering) attribute(of any, n string) (any, error) {
	if u, ok := of.(*undefined); ok {
		return nil, u.fail()
	}
	v, ok, err := r.own(of, n)
	if ok || err != nil {
		return v, err
	}
	if d, isDict := of.(*Dict); isDict {
		if v, ok := d.at(n); ok {
			return v, nil
		}
	}
	return &undefined{fmt.Sprintf("%s has no attribute %q", objectName(of), n)}, nil
}

// member is `of[key]`: an item, else the attribute with that name.
func (r *rendering) member(of, key any) (any, error) {
	if u, ok := of.(*undefined); ok {
		return nil, u.fail()
	}
	switch of := of.(type) {
	case *Dict:
		if v, ok := of.at(key); ok {
			return v, nil
		}
	case numbers:
		if i, ok := index(key, int(of.count)); ok {
			return of.from + int64(i)*of.step, nil
		}
	case List:
		if i, ok := index(key, len(of)); ok {
			return of[i], nil
		}
	case Tuple:
		if i, ok := index(key, len(of)); ok {
			return of[i], nil
		}
	default:
		s, ok := stringOf(of)
		if _, _, whole, isNumber := number(key); ok && whole && isNumber {
			if err := r.take(len(s)); err != nil {
				return nil, err
			}
			if i, ok := index(key, runeCount(s)); ok {
				return characterAt(s, i), nil
			}
		}
	}
	if n, ok := stringOf(key); ok {
		v, ok, err := r.own(of, n)
		if ok || err != nil {
			return v, err
		}
	}
	if n, ok := stringOf(key); ok {
		return &undefined{fmt.Sprintf("%s has no attribute %q", objectName(of), n)}, nil
	}
	s, err := r.repr(key)
	return &undefined{fmt.Sprintf("%s has no element %s", objectName(of), clip(s))}, err
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "..."
	}
	return s
}

func objectName(v any) string {
	if v == nil {
		return "none"
	}
	return "a " + typeName(v)
}

// index is the place that key names among n.
func index(key any, n int) (int, bool) {
	i, _, whole, ok := number(key)
	if !ok || !whole {
		return 0, false
	}
	if i < 0 {
		i += int64(n)
	}
	return int(i), i >= 0 && i < int64(n)
}

var errForbidden = errors.New("values can't be changed in a chat template")

// changing are the methods that Jinja2's sandbox takes away.
var changing = map[string][]string{
	"list": {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"},
	"dict": {"clear", "pop", "popitem", "setdefault", "update"},
}

// own is an attribute or method of a value itself; false if it has none of the name.
func (r *rendering) own(of any, n string) (any, bool, error) {
	if slices.Contains(changing[typeName(of)], n) {
		return &undefined{errForbidden.Error() + ": " + n}, true, nil
	}
	switch of := of.(type) {
	case *namespace:
		v, ok := of.values.at(n)
		return v, ok, nil
	case *loopState:
		return of.attribute(n)
	case *macro:
		v, ok := of.attribute(n)
		return v, ok, nil
	case *cycler:
		v, ok := of.attribute(n)
		return v, ok, nil
	case *Dict:
		f, ok := dictMethods[n]
		return bound(of, n, f), ok, nil
	case List:
		f, ok := listMethods[n]
		return bound[any](of, n, f), ok, nil
	case Tuple:
		f, ok := listMethods[n]
		return bound[any](of, n, f), ok && n != "copy", nil
	case groupItem:
		switch n {
		case "grouper":
			return of.Tuple[0], true, nil
		case "list":
			return of.Tuple[1], true, nil
		}
	}
	if s, ok := stringOf(of); ok {
		if n == "format" {
			return bound(s, n, formatMethod), true, nil
		}
		if f, ok := stringMethods[n]; ok {
			return bound(s, n, f), true, nil
		}
		if slices.Contains(otherStringMethods, n) {
			return nil, true, fmt.Errorf("the method %s of strings is not supported", n)
		}
	}
	return nil, false, nil
}

// method is what a value of one type can do.
type method[T any] = func(r *rendering, self T, a args) (any, error)

func bound[T any](self T, n string, f method[T]) any {
	return &function{n, func(r *rendering, a args) (any, error) { return f(r, self, a) }}
}

// slice is `of[from:to:by]`.
func (r *rendering) slice(of any, e *slicing, s *scope) (any, error) {
	var bounds [3]any
	for i, part := range []expression{e.from, e.to, e.by} {
		if part == nil {
			continue
		}
		v, err := r.eval(part, s)
		if err != nil {
			return nil, err
		}
		bounds[i] = v
	}
	if u, ok := of.(*undefined); ok {
		return nil, u.fail()
	}
	text, isText := stringOf(of)
	items, isSequence := sequence(of)
	n, _ := length(of)
	if ns, ok := of.(numbers); ok {
		isSequence = true
		for i := range ns.count {
			items = append(items, ns.from+i*ns.step)
		}
		if err := r.hold(ns.count * sizeOfItem); err != nil {
			return nil, err
		}
	}
	if !isText && !isSequence {
		return nil, fmt.Errorf("%s has no slices", objectName(of))
	}
	from, to, by, err := span(bounds, n)
	if err != nil {
		return nil, err
	}
	count := 0
	if by > 0 && from < to {
		count = (to - from + by - 1) / by
	} else if by < 0 && from > to {
		count = (from - to - by - 1) / -by
	}
	if isText {
		if err := r.hold(int64(len(text))); err != nil {
			return nil, err
		}
		return cut(text, from, by, count), nil
	}
	if err := r.hold(int64(count) * sizeOfItem); err != nil {
		return nil, err
	}
	out := make([]any, count)
	for i := range out {
		out[i] = items[from+i*by]
	}
	if _, isTuple := of.(Tuple); isTuple {
		return Tuple(out), nil
	}
	return List(out), nil
}

// span is Python's slice.indices.
func span(bounds [3]any, n int) (from, to, by int, err error) {
	whole := [3]int{0, 0, 1}
	for i, b := range bounds {
		if b == nil {
			continue
		}
		v, err := wholeOf(b, "the bound of a slice")
		if err != nil {
			return 0, 0, 0, err
		}
		whole[i] = int(max(min(v, int64(n)+1), -int64(n)-1))
	}
	by = whole[2]
	if by == 0 {
		return 0, 0, 0, errors.New("the step of a slice is 0")
	}
	low, high := 0, n
	from, to = 0, n
	if by < 0 {
		low, high = -1, n-1
		from, to = n-1, -1
	}
	place := func(i int) int {
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	if bounds[0] != nil {
		from = place(whole[0])
	}
	if bounds[1] != nil {
		to = place(whole[1])
	}
	return from, to, by, nil
}
