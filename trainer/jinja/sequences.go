package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The filters that go through what they are given.

// getter gives an attribute of an item, by a path such as "function.name" or
// "content.0"; with nil, the item. Where it isn't there it gives other, unless that is nil.
func (r *rendering) getter(path, other any) func(item any) (any, error) {
	var parts []any
	switch p := path.(type) {
	case nil:
		return func(item any) (any, error) { return item, nil }
	case string:
		for _, part := range strings.Split(p, ".") {
			if i, err := strconv.ParseInt(part, 10, 64); err == nil && part[0] >= '0' && part[0] <= '9' {
				parts = append(parts, i)
			} else {
				parts = append(parts, part)
			}
		}
	default:
		parts = []any{path}
	}
	return func(item any) (any, error) {
		for _, part := range parts {
			if err := r.take(0); err != nil {
				return nil, err
			}
			var err error
			if item, err = r.member(item, part); err != nil {
				return nil, err
			}
			if _, is := item.(*undefined); is && other != nil {
				item = other
			}
		}
		return item, nil
	}
}

// folded is a key for comparing: a string without its case, unless sensitive.
func folded(v any, sensitive bool) any {
	if s, ok := stringOf(v); ok && !sensitive {
		return lower(s)
	}
	return v
}

// generator is an iterator that start makes when its first value is asked for, as
// Python's generators do.
func generator(start func() (*iterator, error)) *iterator {
	var it *iterator
	return &iterator{"generator", func() (any, bool, error) {
		if it == nil {
			var err error
			if it, err = start(); err != nil {
				return nil, false, err
			}
		}
		return it.next()
	}}
}

// through is what next makes of the items of in; what is false has none.
func through(in any, next func(it *iterator) (any, bool, error)) *iterator {
	return generator(func() (*iterator, error) {
		if !truth(in) {
			return each(0, nil), nil
		}
		it, err := iterate(in)
		return &iterator{"generator", func() (any, bool, error) { return next(it) }}, err
	})
}

func mapped(r *rendering, in any, a args) (any, error) {
	var apply func(item any) (any, error)
	if len(a.list) == 0 {
		v, err := a.read("map", "attribute", "default?")
		if err != nil {
			return nil, err
		}
		apply = r.getter(v[0], or(v[1], nil))
	} else {
		n, err := textOf(a.list[0], "the filter for map")
		if err != nil {
			return nil, err
		}
		rest := args{a.list[1:], a.names, a.values}
		apply = func(item any) (any, error) { return r.applyFilter(n, item, rest) }
	}
	return through(in, func(it *iterator) (any, bool, error) {
		if err := r.deeper(); err != nil {
			return nil, false, err
		}
		defer func() { r.depth-- }()
		item, ok, err := it.next()
		if err != nil || !ok {
			return nil, false, err
		}
		item, err = apply(item)
		return item, true, err
	}), nil
}

// selected are the items whose test, or truth, is want; with attributes, that of one
// of their attributes.
func selected(want, attributes bool) filter {
	return func(r *rendering, in any, a args) (any, error) {
		get := r.getter(nil, nil)
		rest := a
		if attributes {
			if len(a.list) == 0 {
				return nil, errors.New("the filter lacks the attribute's name")
			}
			get = r.getter(a.list[0], nil)
			rest.list = a.list[1:]
		}
		is := func(v any) (any, error) { return v, nil }
		if len(rest.list) > 0 {
			n, err := textOf(rest.list[0], "the test's name")
			if err != nil {
				return nil, err
			}
			rest.list = rest.list[1:]
			is = func(v any) (any, error) { return r.test(n, v, rest) }
		}
		return through(in, func(it *iterator) (any, bool, error) {
			if err := r.deeper(); err != nil {
				return nil, false, err
			}
			defer func() { r.depth-- }()
			for {
				item, ok, err := it.next()
				if err != nil || !ok {
					return nil, false, err
				}
				if err := r.take(0); err != nil {
					return nil, false, err
				}
				v, err := get(item)
				if err != nil {
					return nil, false, err
				}
				passes, err := is(v)
				if err != nil {
					return nil, false, err
				}
				if truth(passes) == want {
					return item, true, nil
				}
			}
		}), nil
	}
}

func unique(r *rendering, in any, a args) (any, error) {
	v, err := a.read("unique", "case_sensitive?", "attribute?")
	if err != nil {
		return nil, err
	}
	get := r.getter(or(v[1], nil), nil)
	seen := map[any]bool{}
	var it *iterator
	return &iterator{"generator", func() (any, bool, error) {
		if it == nil {
			var err error
			if it, err = iterate(in); err != nil {
				return nil, false, err
			}
		}
		for {
			item, ok, err := it.next()
			if err != nil || !ok {
				return nil, false, err
			}
			key, err := get(item)
			if err != nil {
				return nil, false, err
			}
			h, err := hashable(folded(key, truth(or(v[0], false))))
			if err != nil {
				return nil, false, err
			}
			if err := r.hold(4 * sizeOfItem); err != nil {
				return nil, false, err
			}
			if !seen[h] {
				seen[h] = true
				return item, true, nil
			}
		}
	}}, nil
}

// sort sorts items by their keys; equal ones keep their order.
func (r *rendering) sort(items []any, key func(item any) (any, error), descending bool) error {
	type keyed struct{ item, key any }
	all := make([]keyed, len(items))
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return err
		}
		all[i] = keyed{item, k}
	}
	var failed error
	slices.SortStableFunc(all, func(x, y keyed) int {
		if failed != nil {
			return 0
		}
		c, ordered, err := r.order(x.key, y.key, 0)
		if err != nil {
			failed = err
		}
		if !ordered {
			return 0
		}
		if descending {
			return -c
		}
		return c
	})
	for i, k := range all {
		items[i] = k.item
	}
	return failed
}

// keys gives the keys that items are sorted by: attributes with commas between.
func (r *rendering) keys(attributes any, sensitive bool) (func(item any) (any, error), error) {
	paths := []any{attributes}
	if s, ok := stringOf(attributes); ok {
		paths = nil
		for _, p := range strings.Split(s, ",") {
			paths = append(paths, p)
		}
	}
	var gets []func(any) (any, error)
	for _, p := range paths {
		gets = append(gets, r.getter(p, nil))
	}
	return func(item any) (any, error) {
		key := make(List, len(gets))
		for i, get := range gets {
			v, err := get(item)
			if err != nil {
				return nil, err
			}
			key[i] = folded(v, sensitive)
		}
		return key, nil
	}, nil
}

func sorted(r *rendering, in any, a args) (any, error) {
	v, err := a.read("sort", "reverse?", "case_sensitive?", "attribute?")
	if err != nil {
		return nil, err
	}
	key, err := r.keys(or(v[2], nil), truth(or(v[1], false)))
	if err != nil {
		return nil, err
	}
	items, err := r.collect(in)
	if err != nil {
		return nil, err
	}
	if err := r.sort(items, key, truth(or(v[0], false))); err != nil {
		return nil, err
	}
	return List(items), nil
}

func dictSort(r *rendering, in any, a args) (any, error) {
	v, err := a.read("dictsort", "case_sensitive?", "by?", "reverse?")
	if err != nil {
		return nil, err
	}
	d, ok := in.(*Dict)
	if !ok {
		return nil, fmt.Errorf("dictsort of %s, want a dict", typeName(in))
	}
	name, _ := stringOf(or(v[1], "key"))
	by, ok := map[string]int{"key": 0, "value": 1}[name]
	if !ok {
		return nil, errors.New(`dictsort sorts by "key" or "value"`)
	}
	items, err := r.collect(view{d, "items"})
	if err != nil {
		return nil, err
	}
	err = r.sort(items, func(item any) (any, error) {
		return folded(item.(Tuple)[by], truth(or(v[0], false))), nil
	}, truth(or(v[2], false)))
	return List(items), err
}

func groupBy(r *rendering, in any, a args) (any, error) {
	v, err := a.read("groupby", "attribute", "default?", "case_sensitive?")
	if err != nil {
		return nil, err
	}
	get := r.getter(v[0], or(v[1], nil))
	sensitive := truth(or(v[2], false))
	key := func(item any) (any, error) {
		k, err := get(item)
		return folded(k, sensitive), err
	}
	items, err := r.collect(in)
	if err != nil {
		return nil, err
	}
	if err := r.sort(items, key, false); err != nil {
		return nil, err
	}
	var groups []any
	var last any
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			is, err := r.equal(k, last)
			if err != nil {
				return nil, err
			}
			if is {
				g := groups[len(groups)-1].(groupItem)
				g.Tuple[1] = append(g.Tuple[1].(List), item)
				continue
			}
		}
		grouper, err := get(item)
		if err != nil {
			return nil, err
		}
		last = k
		groups = append(groups, groupItem{Tuple{grouper, List{item}}})
	}
	return r.listed(groups)
}

func sum(r *rendering, in any, a args) (any, error) {
	v, err := a.read("sum", "attribute?", "start?")
	if err != nil {
		return nil, err
	}
	get := r.getter(or(v[0], nil), nil)
	total := or(v[1], int64(0))
	if _, isText := stringOf(total); isText {
		return nil, errors.New("strings can't be summed; join them")
	}
	it, err := iterate(in)
	if err != nil {
		return nil, err
	}
	for {
		item, ok, err := it.next()
		if err != nil || !ok {
			return total, err
		}
		if err := r.take(0); err != nil {
			return nil, err
		}
		if item, err = get(item); err != nil {
			return nil, err
		}
		if total, err = r.binary("+", total, item); err != nil {
			return nil, err
		}
	}
}

// extreme is min, with -1, or max.
func extreme(sign int) filter {
	return func(r *rendering, in any, a args) (any, error) {
		v, err := a.read("the filter", "case_sensitive?", "attribute?")
		if err != nil {
			return nil, err
		}
		get := r.getter(or(v[1], nil), nil)
		it, err := iterate(in)
		if err != nil {
			return nil, err
		}
		var best, bestKey any
		for first := true; ; first = false {
			item, ok, err := it.next()
			if err != nil {
				return nil, err
			}
			if !ok {
				if first {
					return &undefined{"there is no item to choose from"}, nil
				}
				return best, nil
			}
			key, err := get(item)
			if err != nil {
				return nil, err
			}
			key = folded(key, truth(or(v[0], false)))
			if !first {
				c, ordered, err := r.order(key, bestKey, 0)
				if err != nil {
					return nil, err
				}
				if !ordered || c*sign <= 0 {
					continue
				}
			}
			best, bestKey = item, key
		}
	}
}
