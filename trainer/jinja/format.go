package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spec is how a value is written: of '%5.2f' % x, or of '{:5.2f}'.format(x).
type spec struct {
	fill             string // "" is a space
	align            byte   // < > ^ =, or 0
	sign             byte   // + or space, or 0
	alternate, zero  bool
	width, precision int // precision -1: none
	comma            byte
	verb             byte // 0: none
}

// maxWidth bounds a width and a precision.
const maxWidth = 1 << 16

// percent is Python's `s % v`.
func (r *rendering) percent(s string, v any) (any, error) {
	values, isTuple := v.(Tuple)
	if !isTuple {
		values = Tuple{v}
	}
	used := 0
	take := func() (any, error) {
		if used == len(values) {
			return nil, errors.New("not enough values for the format")
		}
		used++
		return values[used-1], nil
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "%")
		b.WriteString(before)
		if !found {
			break
		}
		var named any
		isNamed := strings.HasPrefix(after, "(")
		if isNamed {
			n, rest, closed := strings.Cut(after[1:], ")")
			d, isDict := v.(*Dict)
			if !closed || !isDict {
				return nil, errors.New("the format names a value, and isn't given a dict")
			}
			var ok bool
			if named, ok = d.at(n); !ok {
				return nil, fmt.Errorf("the format names %q, which isn't given", clip(n))
			}
			after, used = rest, len(values)
		}
		sp := spec{precision: -1}
		for after != "" && strings.IndexByte("-+ #0", after[0]) >= 0 {
			switch after[0] {
			case '-':
				sp.align = '<'
			case '+':
				sp.sign = '+'
			case ' ':
				if sp.sign == 0 {
					sp.sign = ' '
				}
			case '#':
				sp.alternate = true
			case '0':
				sp.zero = true
			}
			after = after[1:]
		}
		var err error
		count := func() (int, error) {
			if strings.HasPrefix(after, "*") {
				after = after[1:]
				v, err := take()
				if err != nil {
					return 0, err
				}
				n, err := wholeOf(v, "a width")
				if err == nil && (n > maxWidth || n < -maxWidth) {
					err = errors.New("a width beyond 65536")
				}
				return int(n), err
			}
			n := 0
			after, n, err = leadingNumber(after)
			return n, err
		}
		if sp.width, err = count(); err != nil {
			return nil, err
		}
		if sp.width < 0 {
			sp.align, sp.width = '<', -sp.width
		}
		if strings.HasPrefix(after, ".") {
			after = after[1:]
			if sp.precision, err = count(); err != nil {
				return nil, err
			}
			sp.precision = max(sp.precision, 0)
		}
		if after == "" {
			return nil, errors.New("the format is incomplete")
		}
		sp.verb = after[0]
		if s = after[1:]; sp.verb == '%' {
			b.WriteByte('%')
			continue
		}
		value := named
		if !isNamed {
			if value, err = take(); err != nil {
				return nil, err
			}
		}
		text, err := r.percentValue(value, sp)
		if err != nil {
			return nil, err
		}
		if err := r.hold(int64(len(text))); err != nil {
			return nil, err
		}
		b.WriteString(text)
	}
	if used < len(values) {
		switch v.(type) {
		case *Dict, List, numbers, *undefined: // Python takes them for mappings
		default:
			return nil, errors.New("not all values are used by the format")
		}
	}
	return r.made(b.String())
}

func (r *rendering) percentValue(v any, sp spec) (string, error) {
	if u, ok := v.(*undefined); ok && strings.IndexByte("sra", sp.verb) < 0 {
		return "", u.fail()
	}
	switch sp.verb {
	case 's', 'r', 'a':
		text := r.str
		if sp.verb != 's' {
			text = r.repr
		}
		s, err := text(v)
		if err != nil {
			return "", err
		}
		if sp.precision >= 0 {
			s = cut(s, 0, 1, min(sp.precision, runeCount(s)))
		}
		if sp.align == 0 {
			sp.align = '>'
		}
		sp.zero = false
		return sp.padded("", s), nil
	case 'c':
		if s, ok := stringOf(v); ok && runeCount(s) == 1 {
			return sp.padded("", s), nil
		}
		i, err := wholeOf(v, "a character")
		if err != nil || i < 0 || i > utf8.MaxRune {
			return "", errors.New("a character is a string of one, or its number")
		}
		return sp.padded("", string(rune(i))), nil
	case 'd', 'i', 'u', 'x', 'X', 'o':
		i, f, whole, ok := number(v)
		if !ok || !whole && strings.IndexByte("xXo", sp.verb) >= 0 {
			return "", fmt.Errorf("%%%c of %s, want a number", sp.verb, typeName(v))
		}
		if !whole {
			if math.IsNaN(f) || math.Abs(f) >= 1<<63 {
				return "", errBeyond
			}
			i = int64(f)
		}
		if sp.verb == 'i' || sp.verb == 'u' {
			sp.verb = 'd'
		}
		precision := sp.precision
		sp.precision = -1
		s := strconv.FormatUint(magnitude(i), map[byte]int{'d': 10, 'x': 16, 'X': 16, 'o': 8}[sp.verb])
		s = strings.Repeat("0", max(precision-len(s), 0)) + s
		return sp.signed(i < 0, s), nil
	case 'f', 'F', 'e', 'E', 'g', 'G':
		_, f, _, ok := number(v)
		if !ok {
			return "", fmt.Errorf("%%%c of %s, want a number", sp.verb, typeName(v))
		}
		return sp.float(f), nil
	}
	return "", fmt.Errorf("the format has an unknown letter %q", sp.verb)
}

func magnitude(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func leadingNumber(s string) (rest string, n int, err error) {
	for s != "" && s[0] >= '0' && s[0] <= '9' {
		if n = n*10 + int(s[0]-'0'); n > maxWidth {
			return "", 0, errors.New("a width beyond 65536")
		}
		s = s[1:]
	}
	return s, n, nil
}

// float writes f by the verb.
func (sp spec) float(f float64) string {
	if sp.precision < 0 {
		sp.precision = 6
	}
	verb := sp.verb
	if verb == 'F' {
		verb = 'f'
	}
	var s string
	switch {
	case math.IsInf(f, 0):
		s = "inf"
	case math.IsNaN(f):
		s = "nan"
	default:
		if verb|0x20 == 'g' {
			s = general(math.Abs(f), max(sp.precision, 1), sp.alternate)
		} else {
			s = strconv.FormatFloat(math.Abs(f), verb|0x20, sp.precision, 64)
		}
	}
	if sp.verb >= 'A' && sp.verb <= 'Z' {
		s = strings.ToUpper(s)
	}
	return sp.signed(math.Signbit(f) && !math.IsNaN(f), s)
}

// general is C's %g.
func general(f float64, precision int, zeros bool) string {
	s := strconv.FormatFloat(f, 'e', precision-1, 64)
	digits, exponent, _ := strings.Cut(s, "e")
	e, _ := strconv.Atoi(exponent)
	if e >= -4 && e < precision {
		digits, exponent = strconv.FormatFloat(f, 'f', precision-1-e, 64), ""
	}
	if !zeros && strings.Contains(digits, ".") {
		digits = strings.TrimRight(strings.TrimRight(digits, "0"), ".")
	}
	if exponent != "" {
		return digits + "e" + exponent
	}
	return digits
}

// signed puts a number's sign, prefix and commas to its digits.
func (sp spec) signed(negative bool, s string) string {
	sign := ""
	switch {
	case negative:
		sign = "-"
	case sp.sign != 0:
		sign = string(sp.sign)
	}
	if sp.alternate {
		sign += map[byte]string{'x': "0x", 'X': "0X", 'o': "0o", 'b': "0b"}[sp.verb]
	}
	if sp.verb == 'X' {
		s = strings.ToUpper(s)
	}
	if sp.comma != 0 {
		whole, rest := s, ""
		if i := strings.IndexAny(s, ".e"); i >= 0 {
			whole, rest = s[:i], s[i:]
		}
		for i := len(whole) - 3; i > 0; i -= 3 {
			whole = whole[:i] + string(sp.comma) + whole[i:]
		}
		s = whole + rest
	}
	if sp.align == 0 {
		sp.align = '>'
		if sp.zero {
			sp.align = '='
		}
	}
	return sp.padded(sign, s)
}

// padded fills a text up to the width.
func (sp spec) padded(sign, s string) string {
	n := sp.width - runeCount(sign) - runeCount(s)
	if n <= 0 {
		return sign + s
	}
	fill := sp.fill
	if fill == "" {
		fill = " "
		if sp.zero && sp.align != '<' {
			fill = "0"
		}
	}
	switch sp.align {
	case '=':
		return sign + strings.Repeat(fill, n) + s
	case '<':
		return sign + s + strings.Repeat(fill, n)
	case '^':
		return strings.Repeat(fill, n/2) + sign + s + strings.Repeat(fill, n-n/2)
	}
	return strings.Repeat(fill, n) + sign + s
}

// formatMethod is str.format.
func formatMethod(r *rendering, s string, a args) (any, error) {
	f := formatter{r: r, a: a}
	return f.text(s, 0)
}

type formatter struct {
	r      *rendering
	a      args
	next   int
	manual bool
}

func (f *formatter) text(s string, depth int) (string, error) {
	if depth > 1 {
		return "", errors.New("a format in a format in a format")
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		if strings.HasPrefix(s[i+1:], s[i:i+1]) {
			b.WriteByte(s[i])
			s = s[i+2:]
			continue
		}
		if s[i] == '}' {
			return "", errors.New("a single } in the format")
		}
		n := fieldLength(s[i:])
		if n == 0 {
			return "", errors.New("a { without its } in the format")
		}
		text, err := f.field(s[i+1:i+n-1], depth)
		if err != nil {
			return "", err
		}
		if err := f.r.hold(int64(len(text))); err != nil {
			return "", err
		}
		b.WriteString(text)
		s = s[i+n:]
	}
	return b.String(), f.r.hold(int64(b.Len()))
}

// fieldLength is the length of a field with its braces; 0 if it has no end.
func fieldLength(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// field writes name!conversion:spec.
func (f *formatter) field(s string, depth int) (string, error) {
	name, how, conversion := s, "", byte(0)
	if i := strings.IndexAny(s, "!:"); i >= 0 {
		name, how = s[:i], s[i+1:]
		if s[i] == '!' {
			if how == "" || len(how) > 1 && how[1] != ':' {
				return "", errors.New("a conversion of more than one letter in the format")
			}
			conversion, how = how[0], strings.TrimPrefix(how[1:], ":")
		}
	}
	v, err := f.value(name)
	if err != nil {
		return "", err
	}
	if strings.Contains(how, "{") {
		if how, err = f.text(how, depth+1); err != nil {
			return "", err
		}
	}
	switch conversion {
	case 0:
	case 's':
		v, err = f.r.str(v)
	case 'r', 'a':
		v, err = f.r.repr(v)
	default:
		err = fmt.Errorf("an unknown conversion %q in the format", conversion)
	}
	if err != nil {
		return "", err
	}
	if how == "" {
		return f.r.str(v)
	}
	sp, err := parseSpec(how)
	if err != nil {
		return "", err
	}
	return sp.value(v)
}

// value is what a field names: by place or name, then attributes and members.
func (f *formatter) value(name string) (any, error) {
	i := strings.IndexAny(name, ".[")
	rest := ""
	if i >= 0 {
		name, rest = name[:i], name[i:]
	}
	var v any
	at := f.next
	if name == "" {
		if f.manual {
			return nil, errors.New("the format numbers some of its fields, and some not")
		}
		f.next++
	} else if n, err := strconv.Atoi(name); err == nil {
		if f.next > 0 {
			return nil, errors.New("the format numbers some of its fields, and some not")
		}
		at, f.manual = n, true
	} else {
		at = -1
		for i, n := range f.a.names {
			if n == name {
				at, v = 0, f.a.values[i]
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("the format names %q, which isn't given", clip(name))
		}
		return f.inside(v, rest)
	}
	if at < 0 || at >= len(f.a.list) {
		return nil, fmt.Errorf("the format has more fields than values")
	}
	return f.inside(f.a.list[at], rest)
}

func (f *formatter) inside(v any, rest string) (_ any, err error) {
	for rest != "" && err == nil {
		if after, ok := strings.CutPrefix(rest, "."); ok {
			n := strings.IndexAny(after, ".[")
			if n < 0 {
				n = len(after)
			}
			v, err = f.r.attribute(v, after[:n])
			rest = after[n:]
			continue
		}
		key, after, ok := strings.Cut(rest[1:], "]")
		if rest[0] != '[' || !ok {
			return nil, errors.New("a [ without its ] in the format")
		}
		if i, isNumber := strconv.ParseInt(key, 10, 64); isNumber == nil {
			v, err = f.r.member(v, i)
		} else {
			v, err = f.r.member(v, key)
		}
		rest = after
	}
	return v, err
}

func parseSpec(s string) (spec, error) {
	sp := spec{precision: -1}
	if _, n := utf8.DecodeRuneInString(s); len(s) > n && strings.IndexByte("<>^=", s[n]) >= 0 {
		sp.fill, sp.align, s = s[:n], s[n], s[n+1:]
	} else if s != "" && strings.IndexByte("<>^=", s[0]) >= 0 {
		sp.align, s = s[0], s[1:]
	}
	if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
		if s[0] != '-' {
			sp.sign = s[0]
		}
		s = s[1:]
	}
	if rest, ok := strings.CutPrefix(s, "#"); ok {
		sp.alternate, s = true, rest
	}
	if rest, ok := strings.CutPrefix(s, "0"); ok {
		sp.zero, s = true, rest
	}
	var err error
	if s, sp.width, err = leadingNumber(s); err != nil {
		return sp, err
	}
	if s != "" && (s[0] == ',' || s[0] == '_') {
		sp.comma, s = s[0], s[1:]
	}
	if rest, ok := strings.CutPrefix(s, "."); ok {
		before := len(rest)
		if s, sp.precision, err = leadingNumber(rest); err != nil {
			return sp, err
		}
		if len(s) == before {
			return sp, errors.New("the format lacks its precision")
		}
	}
	if s != "" {
		sp.verb, s = s[0], s[1:]
	}
	if s != "" {
		return sp, fmt.Errorf("the format ends in %q", clip(s))
	}
	return sp, nil
}

// value writes v for str.format.
func (sp spec) value(v any) (string, error) {
	if s, ok := stringOf(v); ok {
		if sp.verb != 0 && sp.verb != 's' || sp.align == '=' || sp.sign != 0 || sp.comma != 0 || sp.alternate {
			return "", errors.New("the format isn't one for strings")
		}
		if sp.precision >= 0 {
			s = cut(s, 0, 1, min(sp.precision, runeCount(s)))
		}
		if sp.align == 0 {
			sp.align = '<'
			if sp.zero && sp.fill == "" {
				sp.fill = "0"
			}
		}
		if sp.zero && sp.fill == "" {
			sp.fill = "0"
		}
		return sp.padded("", s), nil
	}
	i, f, whole, ok := number(v)
	if !ok {
		return "", fmt.Errorf("%s can't be formatted", typeName(v))
	}
	if _, isBool := v.(bool); isBool && sp.verb == 0 {
		sp.verb = 'd'
	}
	switch sp.verb {
	case 'd', 'x', 'X', 'o', 'b', 'n':
		if !whole || sp.precision >= 0 {
			break
		}
		if sp.verb == 'n' {
			sp.verb = 'd'
		}
		return sp.signed(i < 0, strconv.FormatUint(magnitude(i), map[byte]int{'d': 10, 'x': 16, 'X': 16, 'o': 8, 'b': 2}[sp.verb])), nil
	case 'e', 'E', 'f', 'F', 'g', 'G':
		return sp.float(f), nil
	case '%':
		sp.verb = 'f'
		if sp.precision < 0 {
			sp.precision = 6
		}
		s := strconv.FormatFloat(math.Abs(f*100), 'f', sp.precision, 64) + "%"
		return sp.signed(math.Signbit(f), s), nil
	case 0:
		if whole && sp.precision < 0 {
			return sp.signed(i < 0, strconv.FormatUint(magnitude(i), 10)), nil
		}
		if whole {
			break
		}
		s := floatText(math.Abs(f))
		if sp.precision >= 0 {
			s = general(math.Abs(f), max(sp.precision, 1), false)
			if !strings.ContainsAny(s, ".e") && len(s) < max(sp.precision, 1) {
				s += ".0"
			}
		}
		return sp.signed(math.Signbit(f), s), nil
	}
	return "", errors.New("the format isn't one for this number")
}
