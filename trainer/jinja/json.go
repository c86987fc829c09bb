package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FromJSON makes a value of valid JSON as Python's json.loads does: objects keep
// their order, and of equal keys the last counts.
func FromJSON(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return decode(d, 0)
}

func decode(d *json.Decoder, depth int) (any, error) {
	if depth > maxValue {
		return nil, fmt.Errorf("JSON that nests more than %d deep", maxValue)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		return decodeNumber(t.String())
	case json.Delim:
		if t == '[' {
			l := List{}
			for d.More() {
				v, err := decode(d, depth+1)
				if err != nil {
					return nil, err
				}
				l = append(l, v)
			}
			_, err := d.Token()
			return l, err
		}
		dict := &Dict{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			dict.set(k, v)
		}
		_, err := d.Token()
		return dict, err
	}
	return t, nil
}

func decodeNumber(s string) (any, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) {
			return nil, err
		}
		return f, nil
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	if len(s) > 4300 { // as in Python
		return nil, errors.New("a number of more than 4300 digits")
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("%q is no number", s)
	}
	return wideNumber{n}, nil
}

// jsonWriter is Python's json.dumps.
type jsonWriter struct {
	r           *rendering
	b           []byte
	lines       bool   // each item on its own
	indent      string // of a level
	comma       string // between items
	colon       string
	ascii, sort bool
	depth       int
}

func toJSON(r *rendering, in any, a args) (any, error) {
	v, err := a.read("tojson", "ensure_ascii?", "indent?", "separators?", "sort_keys?")
	if err != nil {
		return nil, err
	}
	w := jsonWriter{r: r, comma: ", ", colon: ": ", ascii: truth(or(v[0], false)), sort: truth(or(v[3], false))}
	switch indent := or(v[1], nil).(type) {
	case nil:
	case string:
		w.lines, w.indent, w.comma = true, indent, ","
	default:
		n, err := wholeOf(indent, "indent of tojson")
		if err != nil {
			return nil, err
		}
		if n > 100 {
			return nil, errors.New("tojson indents by 100 at most")
		}
		w.lines, w.indent, w.comma = true, strings.Repeat(" ", int(max(n, 0))), ","
	}
	if sep := or(v[2], nil); sep != nil {
		both, err := r.unpack(sep, 2)
		if err != nil {
			return nil, err
		}
		if w.comma, err = textOf(both[0], "the first of tojson's separators"); err != nil {
			return nil, err
		}
		if w.colon, err = textOf(both[1], "the second of tojson's separators"); err != nil {
			return nil, err
		}
	}
	if err := w.value(in, "\n"); err != nil {
		return nil, err
	}
	return string(w.b), nil
}

// value writes v; newline begins a line at the level that v stands on.
func (w *jsonWriter) value(v any, newline string) error {
	if w.depth > maxValue {
		return errDeep
	}
	before := len(w.b)
	switch v := v.(type) {
	case nil:
		w.b = append(w.b, "null"...)
	case bool:
		w.b = strconv.AppendBool(w.b, v)
	case float64:
		w.b = append(w.b, jsonFloat(v)...)
	case int64:
		w.b = strconv.AppendInt(w.b, v, 10)
	case wideNumber:
		w.b = append(w.b, v.String()...)
	case *Dict:
		return w.object(v, newline)
	default:
		if s, ok := stringOf(v); ok {
			w.string(s)
			break
		}
		items, ok := sequence(v)
		if !ok {
			return fmt.Errorf("tojson can't write %s", typeName(v))
		}
		return w.group('[', ']', len(items), newline, func(i int, newline string) error { return w.value(items[i], newline) })
	}
	return w.r.hold(int64(len(w.b) - before))
}

func jsonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	return floatText(f)
}

func (w *jsonWriter) object(d *Dict, newline string) error {
	order := make([]any, len(d.keys))
	for i := range order {
		order[i] = int64(i)
	}
	if w.sort {
		err := w.r.sort(order, func(i any) (any, error) { return d.keys[i.(int64)], nil }, false)
		if err != nil {
			return err
		}
	}
	return w.group('{', '}', len(order), newline, func(i int, newline string) error {
		at := order[i].(int64)
		switch k := d.keys[at].(type) {
		case nil, bool, int64, float64:
			w.b = append(w.b, '"')
			if err := w.value(k, newline); err != nil {
				return err
			}
			w.b = append(w.b, '"')
		default:
			s, ok := stringOf(k)
			if !ok {
				return fmt.Errorf("tojson can't write a key that is %s", typeName(k))
			}
			w.string(s)
		}
		w.b = append(w.b, w.colon...)
		return w.value(d.values[at], newline)
	})
}

func (w *jsonWriter) group(open, end byte, n int, newline string, item func(i int, newline string) error) error {
	w.depth++
	defer func() { w.depth-- }()
	w.b = append(w.b, open)
	inner := newline + w.indent
	for i := range n {
		if err := w.r.hold(int64(len(w.comma) + len(inner))); err != nil {
			return err
		}
		if i > 0 {
			w.b = append(w.b, w.comma...)
		}
		if w.lines {
			w.b = append(w.b, inner...)
		}
		if err := item(i, inner); err != nil {
			return err
		}
	}
	if w.lines && n > 0 {
		w.b = append(w.b, newline...)
	}
	w.b = append(w.b, end)
	return nil
}

func (w *jsonWriter) string(s string) {
	w.b = append(w.b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b = append(w.b, '\\', byte(r))
		case r == '\n':
			w.b = append(w.b, `\n`...)
		case r == '\r':
			w.b = append(w.b, `\r`...)
		case r == '\t':
			w.b = append(w.b, `\t`...)
		case r == '\f':
			w.b = append(w.b, `\f`...)
		case r == '\b':
			w.b = append(w.b, `\b`...)
		case r < 0x20 || w.ascii && r > 0x7e && r < 0x10000:
			w.b = fmt.Appendf(w.b, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			r -= 0x10000
			w.b = fmt.Appendf(w.b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			w.b = utf8.AppendRune(w.b, r)
		}
	}
	w.b = append(w.b, '"')
}
