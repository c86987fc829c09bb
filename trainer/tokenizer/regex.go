package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// Patterns that no splitter knows run on regexp2, whose dialect is .NET's. The official library's
// engine is Oniguruma with Ruby's dialect; translate rewrites what the two spell differently and
// refuses what only one of them can do.

// span is the part s[a:b] of a text; match tells whether the pattern matched it.
type span struct {
	a, b  int
	match bool
}

// finder cuts a text into spans, in order and without gaps.
type finder func(s string) []span

// backtracking bounds the engine's stack, in slots of 8 bytes.
const backtracking = 1 << 22

// compilePattern gives the finder of a regular expression.
func compilePattern(pattern string) (finder, error) {
	translated, err := translate(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	re, err := regexp2.Compile(translated, regexp2.Multiline, regexp2.OptionMaxBacktrackingStackSize(backtracking))
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return func(s string) (spans []span) {
		runes := []rune(s)
		at, offset := 0, 0 // the same place in runes and in s
		forward := func(to int) int {
			for ; at < to; at++ {
				offset += utf8.RuneLen(runes[at])
			}
			return offset
		}
		end, matched := 0, false
		// An error here is the backtracking limit: what is left of s then counts as not matched.
		_ = re.FindRunesMatches(runes, 0, func(m regexp2.MatchView) bool {
			start, length, _ := m.GroupRange(0)
			a := forward(start)
			if length == 0 && matched && a == end {
				return true // as Oniguruma: nothing empty right behind a match
			}
			b := forward(start + length)
			if a > end {
				spans = append(spans, span{end, a, false})
			}
			spans = append(spans, span{a, b, true})
			end, matched = b, true
			return true
		})
		if end < len(s) {
			spans = append(spans, span{end, len(s), false})
		}
		return spans
	}, nil
}

// compileLiteral gives the finder of a literal text.
func compileLiteral(text string) (finder, error) {
	if text == "" {
		return nil, errors.New("the pattern is empty")
	}
	return func(s string) (spans []span) {
		end := 0
		for {
			i := strings.Index(s[end:], text)
			if i < 0 {
				break
			}
			if i > 0 {
				spans = append(spans, span{end, end + i, false})
			}
			spans = append(spans, span{end + i, end + i + len(text), true})
			end += i + len(text)
		}
		if end < len(s) {
			spans = append(spans, span{end, len(s), false})
		}
		return spans
	}, nil
}

// onigWord is Oniguruma's \w, to stand inside brackets: .NET's has fewer marks and numbers.
const onigWord = `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}Ⓐ-ⓩ`

// translate rewrites a pattern from Ruby's dialect to .NET's.
func translate(pattern string) (string, error) {
	var out strings.Builder
	depth := 0 // of brackets
	for i := 0; i < len(pattern); i++ {
		c, rest := pattern[i], pattern[i:]
		switch {
		case c == '\\' && len(rest) > 1:
			i++
			switch e := rest[1]; {
			case strings.HasPrefix(rest, `\p{^`):
				return "", errors.New(`\p{^ is not supported; write \P{`)
			case e == 'w' && depth > 0:
				out.WriteString(onigWord)
			case e == 'w':
				out.WriteString("[" + onigWord + "]")
			case e == 'W' && depth == 0:
				out.WriteString("[^" + onigWord + "]")
			case strings.IndexByte("WhHRXKGQEyYNOkg", e) >= 0:
				return "", fmt.Errorf(`\%c is not supported`, e)
			default:
				out.WriteString(rest[:2])
			}
		case depth > 0 && strings.HasPrefix(rest, "&&"):
			return "", errors.New("intersection of classes (&&) is not supported")
		case depth > 0 && strings.HasPrefix(rest, "[:"):
			return "", errors.New("classes such as [:alpha:] are not supported")
		case c == '[' && depth > 0:
			// A class inside a class adds its members, so its brackets can go.
			if strings.HasPrefix(rest, "[^") {
				return "", errors.New("a negated class inside a class is not supported")
			}
			depth++
		case c == '[':
			depth++
			out.WriteByte(c)
			if strings.HasPrefix(rest, "[^") {
				i++
				out.WriteByte('^')
			}
			if i+1 < len(pattern) && pattern[i+1] == ']' {
				return "", errors.New("an empty class is not supported")
			}
		case c == ']' && depth > 0:
			if depth--; depth == 0 {
				out.WriteByte(c)
			}
		case c == '-' && depth > 1 && (pattern[i-1] == '[' || strings.HasPrefix(rest, "-]")):
			out.WriteString(`\-`) // literal at the edge of its class, which is about to lose its brackets
		case depth == 0 && c == '}' && strings.HasPrefix(rest, "}+"):
			return "", errors.New("{n,m}+ means different things to different engines")
		case depth == 0 && strings.HasPrefix(rest, "(?") && len(rest) > 2 && strings.IndexByte(":=!<>i#", rest[2]) < 0:
			return "", fmt.Errorf("group %.3s is not supported", rest)
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}
