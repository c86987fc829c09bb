package jinja

import (
	"fmt"
	"math"
	"math/big"
	"slices"
)

// The values of a template are nil (none), bool, int64, float64, string and what
// follows here. They are never changed once they are made, but for namespaces,
// loops and what is read once only (iterator, cycler, joiner).

// List is Python's list.
type List []any

// Tuple is Python's tuple.
type Tuple []any

// Dict is Python's dict: it keeps the order of its keys.
type Dict struct {
	keys, values []any
	index        map[any]int // hashable(key) -> place
}

// markup is a string that is safe to show: the filters safe and escape make it, and what
// is added to it is escaped.
type markup string

// undefined is what isn't there. It may be written, asked for its truth and gone
// through; all else is an error, which says why.
type undefined struct{ why string }

// wideNumber is a whole number of JSON beyond 64 bits. It can be written and
// compared with its like.
type wideNumber struct{ *big.Int }

type numbers struct{ from, step, count, to int64 } // range(from, to, step)

// view is what dict.keys, values and items give.
type view struct {
	of   *Dict
	kind string // keys, values, items
}

// iterator is read once. Its name is what Python calls it.
type iterator struct {
	name string
	next func() (value any, ok bool, err error)
}

type namespace struct{ values *Dict }

// groupItem is what groupby gives: a tuple whose items have names.
type groupItem struct{ Tuple }

// function is what can be called but a macro.
type function struct {
	name string
	call func(r *rendering, a args) (any, error)
}

func (d *Dict) at(key any) (any, bool) {
	if h, err := hashable(key); err == nil {
		if i, ok := d.index[h]; ok {
			return d.values[i], true
		}
	}
	return nil, false
}

// Get is the value of a key.
func (d *Dict) Get(key string) (any, bool) { return d.at(key) }

// Keys are the keys that are strings, in order.
func (d *Dict) Keys() []string {
	var all []string
	for _, k := range d.keys {
		if s, ok := k.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// Set sets a key's value: for those who make a Dict; a template never changes one.
func (d *Dict) Set(key string, value any) { d.set(key, value) }

func (d *Dict) set(key, value any) error {
	h, err := hashable(key)
	if err != nil {
		return err
	}
	if i, ok := d.index[h]; ok {
		d.values[i] = value
		return nil
	}
	if d.index == nil {
		d.index = map[any]int{}
	}
	d.index[h] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, value)
	return nil
}

// tupleKey stands for a tuple among keys, or for a wide number.
type tupleKey string

// maxKey bounds the work on a key that is a tuple: its items, and their bytes by 16.
const maxKey = 1 << 12

// hashable is what stands for a value among a Dict's keys: equal values give equal
// ones.
func hashable(v any) (any, error) {
	left := maxKey
	return hashed(v, &left, 0)
}

func hashed(v any, left *int, depth int) (any, error) {
	switch v := v.(type) {
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case float64:
		if i, ok := exactly(v); ok {
			return i, nil
		}
	case markup:
		return string(v), nil
	case *undefined:
		return undefined{}, nil
	case wideNumber:
		return tupleKey(v.String()), nil
	case Tuple, groupItem:
		var b []byte
		items, _ := sequence(v)
		for _, item := range items {
			h, err := hashed(item, left, depth+1)
			if err != nil {
				return nil, err
			}
			text := fmt.Sprint(h)
			if *left -= 1 + len(text)/16; *left < 0 || depth > maxValue {
				return nil, fmt.Errorf("%w: a key of that size", ErrLimit)
			}
			b = fmt.Appendf(b, "%T %d:%s,", h, len(text), text)
		}
		return tupleKey(b), nil
	case List, *Dict, view:
		return nil, fmt.Errorf("%s can't be a key", typeName(v))
	}
	return v, nil
}

// exactly is the whole number that f is.
func exactly(f float64) (int64, bool) {
	if f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 {
		return int64(f), true
	}
	return 0, false
}

// truth is Python's bool().
func truth(v any) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	}
	if n, sized := length(v); sized {
		return n > 0
	}
	return true
}

// length is Python's len(); sized is whether v has one. Strings count characters.
func length(v any) (n int, sized bool) {
	switch v := v.(type) {
	case string:
		return runeCount(v), true
	case markup:
		return runeCount(string(v)), true
	case List:
		return len(v), true
	case Tuple:
		return len(v), true
	case groupItem:
		return len(v.Tuple), true
	case *Dict:
		return len(v.keys), true
	case view:
		return len(v.of.keys), true
	case numbers:
		return int(v.count), true
	case *undefined:
		return 0, true
	case *loopState:
		return v.size(), true
	}
	return 0, false
}

// stringOf is the string that v is, if it is one.
func stringOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// sequence is the items of a list or tuple.
func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case List:
		return v, true
	case Tuple:
		return v, true
	case groupItem:
		return v.Tuple, true
	}
	return nil, false
}

// number gives v as a number: true is 1. f is valid in any case, i if whole.
func number(v any) (i int64, f float64, whole, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	case int64:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

// typeName is Python's name of a value's type.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, wideNumber:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case List:
		return "list"
	case Tuple, groupItem:
		return "tuple"
	case *Dict:
		return "dict"
	case view:
		return "dict_" + v.kind
	case numbers:
		return "range"
	case *undefined:
		return "Undefined"
	case *iterator:
		return v.name
	case *namespace:
		return "Namespace"
	case *macro:
		return "Macro"
	case *loopState:
		return "LoopContext"
	}
	return "function"
}

// iterate goes through v. What it makes of a string are its characters.
func iterate(v any) (*iterator, error) {
	switch v := v.(type) {
	case *iterator:
		return v, nil
	case *Dict:
		return each(len(v.keys), func(i int) any { return v.keys[i] }), nil
	case view:
		return each(len(v.of.keys), v.item), nil
	case numbers:
		return each(int(v.count), func(i int) any { return v.from + int64(i)*v.step }), nil
	case *undefined:
		return each(0, nil), nil
	}
	if items, ok := sequence(v); ok {
		return each(len(items), func(i int) any { return items[i] }), nil
	}
	if s, ok := stringOf(v); ok {
		return characters(s), nil
	}
	return nil, fmt.Errorf("%s can't be gone through", typeName(v))
}

func (v view) item(i int) any {
	switch v.kind {
	case "keys":
		return v.of.keys[i]
	case "values":
		return v.of.values[i]
	}
	return Tuple{v.of.keys[i], v.of.values[i]}
}

// each is an iterator of n values.
func each(n int, value func(i int) any) *iterator {
	i := 0
	return &iterator{"generator", func() (any, bool, error) {
		if i >= n {
			return nil, false, nil
		}
		i++
		return value(i - 1), true, nil
	}}
}

// reversed goes through v from its end; false if v has no order.
func reversed(v any) (*iterator, bool) {
	items, _ := sequence(v)
	switch v := v.(type) {
	case List, Tuple, groupItem:
	case *Dict:
		items = v.keys
	case view:
		n := len(v.of.keys)
		return each(n, func(i int) any { return v.item(n - 1 - i) }), true
	case numbers:
		return each(int(v.count), func(i int) any { return v.from + (v.count-1-int64(i))*v.step }), true
	case *undefined:
		return each(0, nil), true
	default:
		s, ok := stringOf(v)
		if !ok {
			return nil, false
		}
		all := []rune(s)
		slices.Reverse(all)
		return characters(string(all)), true
	}
	return each(len(items), func(i int) any { return items[len(items)-1-i] }), true
}
