package data

import "strings"

// gonja knows `a if b else c` only where a tag ends with it, not inside brackets
// or arguments (its issue 65), and templates use it there: Gemma 3's, gpt-oss's.
// Here it is written as `((b) and [a] or [c])[0]`, which evaluates the same one of
// a and c.

// rewriteConditionals rewrites the tags of a template.
func rewriteConditionals(source string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(source, '{')
		if i < 0 || i+1 == len(source) {
			b.WriteString(source)
			return b.String()
		}
		kind := source[i+1]
		if kind != '{' && kind != '%' && kind != '#' {
			b.WriteString(source[:i+1])
			source = source[i+1:]
			continue
		}
		b.WriteString(source[:i+2])
		source = source[i+2:]
		n := tagEnd(source, kind)
		tag := source[:n]
		source = source[n:]
		switch kind {
		case '{':
			tag = rewriteExpression(tag, true)
		case '%':
			tag = rewriteStatement(tag)
		}
		b.WriteString(tag)
	}
}

// tagEnd is where what ends a tag of this kind stands in s, or the end of s.
func tagEnd(s string, kind byte) int {
	end := map[byte]string{'{': "}}", '%': "%}", '#': "#}"}[kind]
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case strings.HasPrefix(s[i:], end) && depth == 0:
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
	return len(s)
}

// rewriteStatement rewrites what stands between {% and %}. The `if` of a for loop
// isn't a condition of this kind.
func rewriteStatement(tag string) string {
	body := strings.TrimLeft(tag, "-+ \t\r\n")
	word := body[:wordLen(body)]
	switch word {
	case "if", "elif", "set":
		at := len(tag) - len(body) + len(word)
		return tag[:at] + rewriteExpression(tag[at:], true)
	}
	return rewriteExpression(tag, false)
}

// rewriteExpression rewrites s: inside all brackets, and, with top, outside of them.
func rewriteExpression(s string, top bool) string {
	var b strings.Builder
	part := 0               // where the part between separators begins
	ifAt, elseAt := -1, -1  // of its keywords, in b
	partAt := func() int { return part }
	flush := func() {
		if ifAt >= 0 && top {
			text := b.String()
			head, chosen, condition, other := text[:partAt()], text[partAt():ifAt], text[ifAt+2:], "None"
			if elseAt >= 0 {
				condition, other = text[ifAt+2:elseAt], text[elseAt+4:]
			}
			trim := ""
			if t := strings.TrimRight(other, "-+ \t\r\n"); t != other { // the tag's own end
				other, trim = t, other[len(t):]
			}
			lead := chosen[:len(chosen)-len(strings.TrimLeft(chosen, "-+ \t\r\n"))]
			b.Reset()
			b.WriteString(head + lead + "((" + condition + ") and [" + chosen[len(lead):] + "] or [" + rewriteExpression(other, true) + "])[0]" + trim)
		}
		ifAt, elseAt = -1, -1
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"' || c == '\'':
			n := stringLen(s[i:])
			b.WriteString(s[i : i+n])
			i += n
		case c == '(' || c == '[' || c == '{':
			n := groupLen(s[i:])
			b.WriteByte(c)
			if n < 2 {
				b.WriteString(s[i+1:])
				return b.String()
			}
			b.WriteString(rewriteExpression(s[i+1:i+n-1], true))
			b.WriteByte(s[i+n-1])
			i += n
		case c == ',' || c == ':' || c == '=' && !comparison(s, i):
			flush()
			b.WriteByte(c)
			part = b.Len()
			i++
		case wordLen(s[i:]) > 0:
			n := wordLen(s[i:])
			switch s[i : i+n] {
			case "if":
				if ifAt < 0 {
					ifAt = b.Len()
				}
			case "else":
				if ifAt >= 0 && elseAt < 0 {
					elseAt = b.Len()
				}
			}
			b.WriteString(s[i : i+n])
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	flush()
	return b.String()
}
