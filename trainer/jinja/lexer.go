package jinja

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	tokenEnd kind = iota
	tokenText
	tokenOpenBlock  // {%
	tokenCloseBlock // %}
	tokenOpenPrint  // {{
	tokenClosePrint // }}
	tokenName       // text is the name
	tokenString     // text is the string
	tokenNumber     // number is its value
	tokenOperator   // text is the operator
)

type token struct {
	kind   kind
	at     int // byte of the source
	text   string
	number any // int64 or float64
}

func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the template"
	case tokenText:
		return "text"
	case tokenOpenBlock:
		return "{%"
	case tokenCloseBlock:
		return "%}"
	case tokenOpenPrint:
		return "{{"
	case tokenClosePrint:
		return "}}"
	case tokenNumber:
		return "a number"
	case tokenString:
		return "a string"
	}
	return strconv.Quote(t.text)
}

// lexer cuts a source, whose lines end in "\n", into tokens.
type lexer struct {
	source string
	at     int
	tokens []token
}

func lex(source string) ([]token, error) {
	l := &lexer{source: source}
	for l.at < len(source) {
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	l.add(tokenEnd, len(source), "")
	return l.tokens, nil
}

func (l *lexer) add(k kind, at int, text string) {
	l.tokens = append(l.tokens, token{kind: k, at: at, text: text})
}

// next reads text and the tag that ends it.
func (l *lexer) next() error {
	start := l.at
	open := tagStart(l.source[start:])
	if open < 0 {
		l.add(tokenText, start, l.source[start:])
		l.at = len(l.source)
		return nil
	}
	open += start
	tag := l.source[open+1]
	sign := signAt(l.source, open+2)
	l.text(start, open, sign, tag != '{')
	l.at = open + 2
	if sign != 0 {
		l.at++
	}
	switch tag {
	case '#':
		return l.comment(open)
	case '{':
		l.add(tokenOpenPrint, open, "")
		return l.inside(tokenClosePrint, "}}")
	}
	if m := rawStart.FindStringIndex(l.source[open:]); m != nil {
		l.at = open + m[1]
		if l.source[l.at-3] == '-' {
			l.space()
		}
		return l.raw(open)
	}
	l.add(tokenOpenBlock, open, "")
	return l.inside(tokenCloseBlock, "%}")
}

var (
	rawStart = regexp.MustCompile(`^\{%[-+]?\s*raw\s*-?%\}`)
	rawEnd   = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*([-+]?)%\}`)
)

// tagStart is where the first tag of s opens, or -1.
func tagStart(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '%' || s[i+1] == '{' || s[i+1] == '#') {
			return i
		}
	}
	return -1
}

func signAt(s string, i int) byte {
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		return s[i]
	}
	return 0
}

// text adds the text from start to the tag at open, without the white space that
// the tag's sign takes, or lstrip_blocks: what stands between the line's start and a
// block.
func (l *lexer) text(start, open int, sign byte, block bool) {
	text := l.source[start:open]
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, isSpace)
	case sign == 0 && block:
		line := strings.LastIndexByte(text, '\n') + 1
		if (line > 0 || start == 0 || l.source[start-1] == '\n') && strings.TrimFunc(text[line:], isSpace) == "" {
			text = text[:line]
		}
	}
	if text != "" {
		l.add(tokenText, start, text)
	}
}

// space passes over white space.
func (l *lexer) space() {
	rest := l.source[l.at:]
	l.at += len(rest) - len(strings.TrimLeftFunc(rest, isSpace))
}

// closed passes over what follows a block: with a sign "-" all white space, without
// one a line end.
func (l *lexer) closed(sign byte) {
	switch {
	case sign == '-':
		l.space()
	case sign == 0 && strings.HasPrefix(l.source[l.at:], "\n"):
		l.at++
	}
}

func (l *lexer) comment(open int) error {
	n := strings.Index(l.source[l.at:], "#}")
	if n < 0 {
		return errorAt(open, "the comment has no end")
	}
	sign := byte(0)
	if n > 0 {
		sign = signAt(l.source, l.at+n-1)
	}
	l.at += n + len("#}")
	l.closed(sign)
	return nil
}

func (l *lexer) raw(open int) error {
	m := rawEnd.FindStringSubmatchIndex(l.source[l.at:])
	if m == nil {
		return errorAt(open, "{%% raw %%} has no {%% endraw %%}")
	}
	for i := range m {
		m[i] += l.at
	}
	l.text(l.at, m[0], signAt(l.source[:m[3]], m[2]), true)
	l.at = m[1]
	l.closed(signAt(l.source[:m[5]], m[4]))
	return nil
}

var operators = []string{"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}

var partner = map[string]string{"(": ")", "[": "]", "{": "}"}

// inside reads a tag up to its end.
func (l *lexer) inside(end kind, closing string) error {
	var open []string // what closes the brackets that are open
	for {
		l.space()
		rest := l.source[l.at:]
		if rest == "" {
			return errorAt(l.at, "%s is missing", closing)
		}
		if len(open) == 0 {
			sign := byte(0)
			if rest[0] == '-' || rest[0] == '+' && end == tokenCloseBlock {
				sign = rest[0]
			}
			after, found := strings.CutPrefix(rest[min(1, int(sign)):], closing)
			if found {
				l.add(end, l.at, "")
				l.at = len(l.source) - len(after)
				if end == tokenCloseBlock || sign == '-' {
					l.closed(sign)
				}
				return nil
			}
		}
		n, err := l.word(rest)
		if err != nil {
			return locate(l.at, err)
		}
		if t := l.tokens[len(l.tokens)-1]; t.kind == tokenOperator {
			switch t.text {
			case "(", "[", "{":
				open = append(open, partner[t.text])
			case ")", "]", "}":
				if len(open) == 0 || open[len(open)-1] != t.text {
					return errorAt(l.at, "unexpected %q", t.text)
				}
				open = open[:len(open)-1]
			}
		}
		l.at += n
	}
}

var (
	floatLiteral = regexp.MustCompile(`^(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+\-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)`)
	wholeLiteral = regexp.MustCompile(`^(?:0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*)`)
)

// word reads a name, a string, a number or an operator, and gives its length.
func (l *lexer) word(s string) (int, error) {
	if !(l.at > 0 && l.source[l.at-1] == '.') { // in a.1.5 there is no 1.5
		if n := len(floatLiteral.FindString(s)); n > 0 {
			f, err := strconv.ParseFloat(strings.ReplaceAll(s[:n], "_", ""), 64)
			if err != nil && f == 0 {
				return 0, err
			}
			l.tokens = append(l.tokens, token{kind: tokenNumber, at: l.at, number: f})
			return n, nil
		}
	}
	if n := len(wholeLiteral.FindString(s)); n > 0 {
		digits := strings.ReplaceAll(s[:n], "_", "")
		if strings.Trim(digits, "0") == "" {
			digits = "0"
		}
		i, err := strconv.ParseInt(digits, 0, 64)
		if err != nil {
			return 0, errBeyond
		}
		l.tokens = append(l.tokens, token{kind: tokenNumber, at: l.at, number: i})
		return n, nil
	}
	if n := nameLength(s); n > 0 {
		l.add(tokenName, l.at, s[:n])
		return n, nil
	}
	if s[0] == '"' || s[0] == '\'' {
		n := stringLength(s)
		if n == 0 {
			return 0, fmt.Errorf("the string has no end")
		}
		text, err := unescape(s[1 : n-1])
		if err != nil {
			return 0, err
		}
		l.add(tokenString, l.at, text)
		return n, nil
	}
	for _, o := range operators {
		if strings.HasPrefix(s, o) {
			l.add(tokenOperator, l.at, o)
			return len(o), nil
		}
	}
	c, _ := utf8.DecodeRuneInString(s)
	return 0, fmt.Errorf("unexpected character %q", c)
}

func nameLength(s string) int {
	for i, c := range s {
		if c != '_' && !unicode.IsLetter(c) && (i == 0 || !unicode.IsDigit(c) && !unicode.Is(unicode.Mn, c)) {
			return i
		}
	}
	return len(s)
}

// stringLength is the length of the string literal at the start of s; 0 if it has
// no end.
func stringLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return 0
}

var escapes = map[byte]string{'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

// unescape reads the escapes of a Python string; one that is none stays as it is.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		c := s[i] // stringLength saw to it that there is one
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		switch {
		case digits > 0:
			if len(s) < i+1+digits {
				return "", fmt.Errorf(`the escape \%c wants %d hexadecimal digits`, c, digits)
			}
			n, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
			if err != nil || n > unicode.MaxRune || n >= 0xd800 && n < 0xe000 {
				return "", fmt.Errorf(`the escape \%s is no character`, s[i:i+1+digits])
			}
			b.WriteRune(rune(n))
			i += digits
		case c >= '0' && c <= '7':
			n := 0
			end := min(i+3, len(s))
			for ; i < end && s[i] >= '0' && s[i] <= '7'; i++ {
				n = n*8 + int(s[i]-'0')
			}
			i--
			b.WriteRune(rune(n))
		case c == 'N':
			return "", fmt.Errorf(`the escape \N is not supported`)
		default:
			to, known := escapes[c]
			if !known {
				to = s[i-1 : i+1]
			}
			b.WriteString(to)
		}
	}
	return b.String(), nil
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
