package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func runeCount(s string) int { return utf8.RuneCountInString(s) }

// characters goes through those of s.
func characters(s string) *iterator {
	return &iterator{"str_ascii_iterator", func() (any, bool, error) {
		if s == "" {
			return nil, false, nil
		}
		_, n := utf8.DecodeRuneInString(s)
		c := s[:n]
		s = s[n:]
		return c, true, nil
	}}
}

// characterAt is character i of s, which has it.
func characterAt(s string, i int) string {
	for at := range s {
		if i == 0 {
			_, n := utf8.DecodeRuneInString(s[at:])
			return s[at : at+n]
		}
		i--
	}
	return ""
}

// cut takes count characters of s, from one on, each by characters after the last.
func cut(s string, from, by, count int) string {
	if count <= 0 {
		return ""
	}
	if by == 1 {
		start, end, i := len(s), len(s), 0
		for at := range s {
			if i == from {
				start = at
			}
			if i == from+count {
				end = at
				break
			}
			i++
		}
		return s[start:end]
	}
	all := []rune(s)
	out := make([]rune, count)
	for i := range out {
		out[i] = all[from+i*by]
	}
	return string(out)
}

// str is Python's str(): a value as a template writes it.
func (r *rendering) str(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case markup:
		return string(v), nil
	case *undefined:
		return "", nil
	}
	return r.repr(v)
}

// repr is Python's repr(): a value as it stands in a list.
func (r *rendering) repr(v any) (string, error) {
	b, err := r.appendRepr(nil, v, 0)
	return string(b), err
}

func (r *rendering) appendRepr(b []byte, v any, depth int) (_ []byte, err error) {
	if depth > maxValue {
		return nil, errDeep
	}
	before := len(b)
	if err := r.take(0); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		b = append(b, "None"...)
	case bool:
		b = append(b, map[bool]string{true: "True", false: "False"}[v]...)
	case int64:
		b = strconv.AppendInt(b, v, 10)
	case wideNumber:
		b = append(b, v.String()...)
	case float64:
		b = append(b, floatText(v)...)
	case string:
		b = append(b, quoted(v)...)
	case markup:
		b = append(b, "Markup("+quoted(string(v))+")"...)
	case *undefined:
		b = append(b, "Undefined"...)
	case List:
		return r.appendItems(b, "[", v, "]", depth)
	case Tuple:
		return r.appendTuple(b, v, depth)
	case groupItem:
		return r.appendTuple(b, v.Tuple, depth)
	case *Dict:
		b = append(b, '{')
		for i, k := range v.keys {
			if i > 0 {
				b = append(b, ", "...)
			}
			if b, err = r.appendRepr(b, k, depth+1); err != nil {
				return nil, err
			}
			b = append(b, ": "...)
			if b, err = r.appendRepr(b, v.values[i], depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case view:
		items := make([]any, len(v.of.keys))
		for i := range items {
			items[i] = v.item(i)
		}
		return r.appendItems(b, "dict_"+v.kind+"([", items, "])", depth)
	case numbers:
		b = fmt.Appendf(b, "range(%d, %d", v.from, v.to)
		if v.step != 1 {
			b = fmt.Appendf(b, ", %d", v.step)
		}
		b = append(b, ')')
	case *namespace:
		b = append(b, "<Namespace "...)
		if b, err = r.appendRepr(b, v.values, depth+1); err != nil {
			return nil, err
		}
		b = append(b, '>')
	case *macro:
		b = append(b, "<Macro "+quoted(v.name)+">"...)
	case *loopState:
		b = fmt.Appendf(b, "<LoopContext %d/%d>", v.index0+1, v.size())
	default: // Python would show where in memory it lies
		b = append(b, "<"+typeName(v)+" object>"...)
	}
	return b, r.hold(int64(len(b) - before))
}

func (r *rendering) appendItems(b []byte, open string, items []any, end string, depth int) (_ []byte, err error) {
	b = append(b, open...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ", "...)
		}
		if b, err = r.appendRepr(b, item, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, end...), nil
}

func (r *rendering) appendTuple(b []byte, items []any, depth int) ([]byte, error) {
	if len(items) == 1 {
		return r.appendItems(b, "(", items, ",)", depth)
	}
	return r.appendItems(b, "(", items, ")", depth)
}

// floatText is Python's repr of a float: the fewest digits that give it back.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	exponent, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:])
	if exponent < -4 || exponent >= 16 {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quoted is Python's repr of a string.
func quoted(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteRune(quote)
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

// lines cuts s as Python's splitlines does; with ends they keep theirs.
func lines(s string, ends bool) []any {
	out := []any{}
	for s != "" {
		n := strings.IndexFunc(s, func(c rune) bool { return slices.Contains(lineEnds, c) })
		if n < 0 {
			return append(out, s)
		}
		_, size := utf8.DecodeRuneInString(s[n:])
		if strings.HasPrefix(s[n:], "\r\n") {
			size = 2
		}
		if ends {
			out = append(out, s[:n+size])
		} else {
			out = append(out, s[:n])
		}
		s = s[n+size:]
	}
	return out
}

var lineEnds = []rune{'\n', '\r', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029}
