package data

import (
	"errors"
	"strings"
)

// What gonja's parser does otherwise than Jinja2 is settled in a template's text,
// before gonja reads it:
//
//   - White space around blocks (trim_blocks, lstrip_blocks, the last line end): gonja
//     also takes what stands behind other text on a line.
//   - Conditions: gonja knows `a if b else c` only where a tag ends with it, not inside
//     brackets or before more of the expression (its issue 65), and templates use it
//     there: Gemma 3's, gpt-oss's. It becomes `((b) and [a] or [c])[0]`, which evaluates
//     the same one of a and c.

const spaces = " \t\r\n"

// rewriteTemplate gives the template that gonja, without white space settings,
// renders as Jinja2 renders source with trim_blocks and lstrip_blocks.
func rewriteTemplate(source string) (string, error) {
	if len(source) > maxTemplate {
		return "", errors.New("the template has more than 1 MiB")
	}
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source)
	source = strings.TrimSuffix(source, "\n")
	var b strings.Builder
	lineStart := true
	for {
		text, kind, tag, after := nextTag(source)
		if kind == 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		block := kind != '{'
		if line := strings.LastIndexByte(text, '\n') + 1; block && !strings.HasPrefix(tag, "+") &&
			(line > 0 || lineStart) && strings.Trim(text[line:], spaces) == "" {
			text = text[:line]
		}
		lineStart = false
		if block && !strings.HasSuffix(tag, "+") {
			after, lineStart = strings.CutPrefix(after, "\n")
		}
		tag = strings.TrimSuffix(strings.TrimPrefix(tag, "+"), "+")
		if kind != '#' && nesting(tag) > maxNesting {
			return "", errors.New("the template nests too deep")
		}
		switch kind {
		case '{':
			tag = rewriteTag(tag, func(s string) string { return rewriteExpression(s, true) })
		case '%':
			tag = rewriteTag(tag, rewriteStatement)
		}
		b.WriteString(text + "{" + string(kind) + tag + closing[kind])
		source = after
	}
}

var closing = map[byte]string{'{': "}}", '%': "%}", '#': "#}"}

// nextTag cuts s at its next tag: the text before it, the tag's kind and what stands
// inside, and what follows. kind is 0 where there is no whole tag.
func nextTag(s string) (text string, kind byte, tag, after string) {
	for i := 0; i+1 < len(s); i++ {
		if s[i] != '{' || closing[s[i+1]] == "" {
			continue
		}
		inside := s[i+2:]
		n := tagLen(inside, s[i+1])
		if n < 0 {
			break
		}
		return s[:i], s[i+1], inside[:n], inside[n+2:]
	}
	return s, 0, "", ""
}

// tagLen is the length of what a tag has inside, s being what follows its opening;
// -1 where nothing closes it.
func tagLen(s string, kind byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case depth == 0 && strings.HasPrefix(s[i:], closing[kind]):
			return i
		case kind == '#':
		case c == '"' || c == '\'':
			i += stringLen(s[i:]) - 1
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		}
	}
	return -1
}

// nesting bounds how deep the expressions of a tag nest: by its brackets and by its
// `else`s, which hold what follows them.
func nesting(tag string) int {
	depth, deepest, elses := 0, 0, 0
	for i := 0; i < len(tag); i++ {
		switch c := tag[i]; {
		case c == '"' || c == '\'':
			i += stringLen(tag[i:]) - 1
		case strings.IndexByte("([{", c) >= 0:
			depth++
			deepest = max(deepest, depth)
		case strings.IndexByte(")]}", c) >= 0:
			depth--
		case strings.HasPrefix(tag[i:], "else"):
			elses++
		}
	}
	return deepest + elses
}

// rewriteTag rewrites a tag but for its trim marks.
func rewriteTag(tag string, rewrite func(string) string) string {
	var open, end string
	if strings.HasPrefix(tag, "-") {
		open, tag = "-", tag[1:]
	}
	if strings.HasSuffix(tag, "-") {
		end, tag = "-", tag[:len(tag)-1]
	}
	return open + rewrite(tag) + end
}

// rewriteStatement rewrites what stands between {% and %}. Outside of brackets only
// set has conditions of this kind; a loop's `if` is another.
func rewriteStatement(tag string) string {
	body := strings.TrimLeft(tag, spaces)
	word := body[:wordLen(body)]
	return rewriteExpression(tag, word == "set")
}

// rewriteExpression rewrites s: inside of all brackets and, with outside, outside of
// them.
func rewriteExpression(s string, outside bool) string {
	var done strings.Builder // parts up to the last separator
	var part strings.Builder
	ifAt, elseAt := -1, -1 // of the keywords in part
	finish := func() {
		p := part.String()
		if outside && ifAt >= 0 {
			p = conditional(p, ifAt, elseAt)
		}
		done.WriteString(p)
		part.Reset()
		ifAt, elseAt = -1, -1
	}
	for len(s) > 0 {
		n := 1
		switch c := s[0]; {
		case c == '"' || c == '\'':
			n = stringLen(s)
			part.WriteString(s[:n])
		case strings.IndexByte("([{", c) >= 0:
			if n = groupLen(s); n < 2 {
				part.WriteString(s)
				n = len(s)
				break
			}
			part.WriteString(s[:1] + rewriteExpression(s[1:n-1], true) + s[n-1:n])
		case c == ',' || c == ':' || c == '=' && !strings.HasPrefix(s, "=="):
			finish()
			done.WriteByte(c)
		case wordLen(s) > 0:
			n = wordLen(s)
			if s[:n] == "if" && ifAt < 0 {
				ifAt = part.Len()
			} else if s[:n] == "else" && ifAt >= 0 && elseAt < 0 {
				elseAt = part.Len()
			}
			part.WriteString(s[:n])
		default:
			if strings.IndexByte("=!<>", c) >= 0 && strings.HasPrefix(s[1:], "=") {
				n = 2
			}
			part.WriteString(s[:n])
		}
		s = s[n:]
	}
	finish()
	return done.String()
}

// conditional rewrites one `a if b else c`, given where its keywords stand. Without
// else it is nothing, as gonja writes undefined.
func conditional(s string, ifAt, elseAt int) string {
	condition, other := s[ifAt+len("if"):], "None"
	if elseAt >= 0 {
		condition, other = s[ifAt+len("if"):elseAt], rewriteExpression(s[elseAt+len("else"):], true)
	}
	return " ((" + condition + ") and [" + s[:ifAt] + "] or [" + other + "])[0] "
}

// stringLen is the length of the string literal that s begins with: Jinja's, or
// JSON's.
func stringLen[T string | []byte](s T) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return len(s)
}

// groupLen is the length of the bracket that s begins with, up to its partner; 0
// where that is missing, which gonja refuses.
func groupLen[T string | []byte](s T) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"', '\'':
			i += stringLen(s[i:]) - 1
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// wordLen is the length of the name or number that s begins with.
func wordLen(s string) int {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n] >= '0' && s[n] <= '9' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z') {
		n++
	}
	return n
}
