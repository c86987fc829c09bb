package jinja

import "errors"

// dictMethods are those of Python's dict that change nothing.
var dictMethods = map[string]method[*Dict]{
	"keys":   viewed("keys"),
	"values": viewed("values"),
	"items":  viewed("items"),
	"get": func(_ *rendering, d *Dict, a args) (any, error) {
		if err := a.onlyList(); err != nil {
			return nil, err
		}
		v, err := a.read("get", "key", "default?")
		if err != nil {
			return nil, err
		}
		if _, err := hashable(v[0]); err != nil {
			return nil, err
		}
		if found, ok := d.at(v[0]); ok {
			return found, nil
		}
		return or(v[1], nil), nil
	},
	"copy": func(r *rendering, d *Dict, a args) (any, error) {
		if _, err := a.read("copy"); err != nil {
			return nil, err
		}
		return d, nil // it never changes
	},
}

func viewed(kind string) method[*Dict] {
	return func(_ *rendering, d *Dict, a args) (any, error) {
		if _, err := a.read(kind); err != nil {
			return nil, err
		}
		return view{d, kind}, nil
	}
}

// listMethods are those of list and tuple that change nothing.
var listMethods = map[string]method[any]{
	"count": func(r *rendering, self any, a args) (any, error) {
		v, err := a.read("count", "value")
		if err != nil {
			return nil, err
		}
		items, _ := sequence(self)
		n := int64(0)
		for _, item := range items {
			is, err := r.equal(item, v[0])
			if err != nil {
				return nil, err
			}
			if is {
				n++
			}
		}
		return n, nil
	},
	"index": func(r *rendering, self any, a args) (any, error) {
		if err := a.onlyList(); err != nil {
			return nil, err
		}
		v, err := a.read("index", "value", "start?", "stop?")
		if err != nil {
			return nil, err
		}
		items, _ := sequence(self)
		from, to, _, err := span([3]any{or(v[1], nil), or(v[2], nil), nil}, len(items))
		if err != nil {
			return nil, err
		}
		for i := from; i < to; i++ {
			if is, err := r.equal(items[i], v[0]); err != nil || is {
				return int64(i), err
			}
		}
		return nil, errors.New("the list doesn't have that value")
	},
	"copy": func(_ *rendering, self any, a args) (any, error) {
		_, err := a.read("copy")
		return self, err
	},
}
