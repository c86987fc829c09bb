package jinja

import (
	"fmt"
	"strings"
)

// globals are the names that every template knows. Transformers makes sure that
// the special tokens and the conversation go before them.
var globals = map[string]any{
	"range":           &function{"range", rangeOf},
	"dict":            &function{"dict", dictOf},
	"namespace":       &function{"namespace", namespaceOf},
	"cycler":          &function{"cycler", cyclerOf},
	"joiner":          &function{"joiner", joinerOf},
	"raise_exception": &function{"raise_exception", raise},
	"strftime_now":    &function{"strftime_now", strftime},
}

func rangeOf(_ *rendering, a args) (any, error) {
	if err := a.onlyList(); err != nil {
		return nil, err
	}
	if len(a.list) < 1 || len(a.list) > 3 {
		return nil, fmt.Errorf("range takes one to three numbers, not %d", len(a.list))
	}
	bounds := [3]int64{0, 0, 1}
	for i, v := range a.list {
		n, err := wholeOf(v, "what range is given")
		if err != nil {
			return nil, err
		}
		bounds[i] = n
	}
	if len(a.list) == 1 {
		bounds[0], bounds[1] = 0, bounds[0]
	}
	from, to, step := bounds[0], bounds[1], bounds[2]
	if step == 0 {
		return nil, fmt.Errorf("range with a step of 0")
	}
	const far = 1 << 40
	if max(from, to, step, -from, -to, -step) > far || min(from, to, step) < -far {
		return nil, fmt.Errorf("%w: range with numbers beyond %d", ErrLimit, int64(far))
	}
	count := int64(0)
	if step > 0 && from < to {
		count = (to - from + step - 1) / step
	} else if step < 0 && from > to {
		count = (from - to - step - 1) / -step
	}
	if count > maxRange {
		return nil, fmt.Errorf("%w: range of more than %d", ErrLimit, maxRange)
	}
	return numbers{from, step, count, to}, nil
}

// dictOf is Python's dict(): of a dict or of pairs, and of names.
func dictOf(r *rendering, a args) (any, error) {
	d := &Dict{}
	if len(a.list) > 1 {
		return nil, fmt.Errorf("dict takes one argument by place, not %d", len(a.list))
	}
	if len(a.list) == 1 {
		of := a.list[0]
		if from, ok := of.(*Dict); ok {
			of = view{from, "items"}
		}
		pairs, err := r.collect(of)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			kv, err := r.unpack(p, 2)
			if err != nil {
				return nil, err
			}
			if err := d.set(kv[0], kv[1]); err != nil {
				return nil, err
			}
		}
	}
	for i, n := range a.names {
		d.set(n, a.values[i])
	}
	return d, r.hold(int64(len(d.keys)) * 4 * sizeOfItem)
}

func namespaceOf(r *rendering, a args) (any, error) {
	v, err := dictOf(r, a)
	if err != nil {
		return nil, err
	}
	d := v.(*Dict)
	for _, k := range d.Keys() {
		if err := checkAttribute(k); err != nil {
			return nil, err
		}
	}
	return &namespace{d}, nil
}

// cycler gives its items one after the other, again and again.
type cycler struct {
	items []any
	at    int
}

func cyclerOf(_ *rendering, a args) (any, error) {
	if err := a.onlyList(); err != nil {
		return nil, err
	}
	if len(a.list) == 0 {
		return nil, fmt.Errorf("cycler has no items")
	}
	return &cycler{items: a.list}, nil
}

func (c *cycler) attribute(n string) (any, bool) {
	switch n {
	case "current":
		return c.items[c.at], true
	case "next":
		return &function{n, func(*rendering, args) (any, error) {
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v, nil
		}}, true
	case "reset":
		return &function{n, func(*rendering, args) (any, error) {
			c.at = 0
			return nil, nil
		}}, true
	}
	return nil, false
}

// joinerOf gives nothing when it is called first, then its separator.
func joinerOf(_ *rendering, a args) (any, error) {
	v, err := a.read("joiner", "sep?")
	if err != nil {
		return nil, err
	}
	used := false
	return &function{"joiner", func(*rendering, args) (any, error) {
		if !used {
			used = true
			return "", nil
		}
		return or(v[0], ", "), nil
	}}, nil
}

func raise(r *rendering, a args) (any, error) {
	v, err := a.read("raise_exception", "message")
	if err != nil {
		return nil, err
	}
	s, err := r.str(v[0])
	if err != nil {
		return nil, err
	}
	return nil, raised{clip(s)}
}

// layouts are Go's for the directives of C's strftime.
var layouts = map[byte]string{'d': "02", 'e': "_2", 'b': "Jan", 'h': "Jan", 'B': "January", 'm': "01", 'y': "06", 'Y': "2006", 'H': "15",
	'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'a': "Mon", 'A': "Monday", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05",
	'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'f': "000000"}

// strftime formats today.
func strftime(r *rendering, a args) (any, error) {
	v, err := a.read("strftime_now", "format")
	if err != nil {
		return nil, err
	}
	f, err := textOf(v[0], "the format of strftime_now")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(f, "%")
		b.WriteString(before)
		if !found || after == "" {
			return r.made(b.String())
		}
		switch layout, ok := layouts[after[0]]; {
		case ok:
			b.WriteString(today.Format(layout))
		case after[0] == '%':
			b.WriteByte('%')
		case after[0] == '-' && len(after) > 1 && layouts[after[1]] != "": // without zeros before
			b.WriteString(strings.TrimLeft(today.Format(layouts[after[1]]), "0 "))
			after = after[1:]
		case after[0] == 'Z' || after[0] == 'z': // it has no zone
		default:
			return nil, fmt.Errorf("strftime_now doesn't know %%%c", after[0])
		}
		f = after[1:]
	}
}
