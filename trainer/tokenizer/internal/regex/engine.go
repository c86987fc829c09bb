package regex

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// Patterns that cannot become automata run on regexp2, whose dialect is .NET's. The official library's
// engine is Oniguruma with Ruby's dialect; translate rewrites what the two spell differently and
// refuses what only one of them can do.

// backtracking bounds the engine's stack, in slots of 8 bytes.
const backtracking = 1 << 22

// CompileEngine gives what cuts texts as Find does, by backtracking, even if the pattern has an
// automaton: tests hold one against the other.
func CompileEngine(pattern string) (func(s string) []Span, error) {
	translated, err := translate(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	re, err := regexp2.Compile(translated, regexp2.Multiline, regexp2.OptionMaxBacktrackingStackSize(backtracking))
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return func(s string) (spans []Span) {
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
				spans = append(spans, Span{end, a, false})
			}
			spans = append(spans, Span{a, b, true})
			end, matched = b, true
			return true
		})
		if end < len(s) {
			spans = append(spans, Span{end, len(s), false})
		}
		return spans
	}, nil
}

// translate rewrites a pattern from Ruby's dialect to .NET's, and Go's Unicode 15 to Oniguruma's 16.
func translate(pattern string) (string, error) {
	if strings.Contains(pattern, "(?i") && foldsToMany(pattern) {
		return "", errors.New("ignoring case where one letter equals two, as ß and ss, is not supported")
	}
	var out strings.Builder
	depth := 0 // of brackets
	for i := 0; i < len(pattern); i++ {
		c, rest := pattern[i], pattern[i:]
		switch {
		case c == '\\' && len(rest) > 1:
			escape := rest[:2]
			if rest[1] == 'p' || rest[1] == 'P' {
				end := strings.IndexByte(rest, '}')
				if end < 0 || rest[2] != '{' || rest[3] == '^' {
					return "", fmt.Errorf(`%.4s: a property is written \p{Name} or \P{Name}`, rest)
				}
				escape = rest[:end+1]
			}
			i += len(escape) - 1
			if escape == `\b` && depth == 0 {
				members, _, _ := escaped(`\w`, true)
				fmt.Fprintf(&out, "(?:(?<=[%[1]s])(?![%[1]s])|(?<![%[1]s])(?=[%[1]s]))", members)
				continue
			}
			members, negated, err := escaped(escape, depth == 0)
			switch {
			case err != nil:
				return "", err
			case members == "":
				out.WriteString(escape)
			case depth == 0 && negated:
				out.WriteString("[^" + members + "]")
			case depth == 0:
				out.WriteString("[" + members + "]")
			case negated:
				return "", fmt.Errorf("%s inside a class is not supported", escape)
			default:
				out.WriteString(members)
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
		case depth > 0 && strings.HasPrefix(rest, "--"):
			return "", errors.New("a range from or to - is not supported")
		case c == '-' && depth > 0 && (pattern[i-1] == '[' || strings.HasPrefix(rest, "-]")):
			out.WriteString(`\-`) // literal at the edge of a class, which may lose its brackets
		case depth == 0 && strings.HasPrefix(rest, "}+"):
			return "", errors.New("{n,m}+ means different things to different engines")
		case depth == 0 && strings.HasPrefix(rest, "}?"):
			return "", errors.New("{n}? means different things to different engines")
		case depth == 0 && strings.HasPrefix(rest, "(?") && (len(rest) < 3 || strings.IndexByte(":=!<>i#", rest[2]) < 0):
			return "", fmt.Errorf("group %.3s is not supported", rest)
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}

// foldsToMany reports whether ignoring case in pattern may have to equate one letter with two.
func foldsToMany(pattern string) bool {
	for _, pair := range []string{"ss", "st", "ff", "fi", "fl"} {
		if strings.Contains(strings.ToLower(pattern), pair) {
			return true
		}
	}
	return strings.ContainsFunc(pattern, func(r rune) bool { return r >= utf8.RuneSelf })
}

// escaped gives what an escape stands for as members of a class, where the two engines differ on it:
// \d, \w and the categories, which Unicode 16 has extended. alone: it stands outside brackets.
func escaped(escape string, alone bool) (members string, negated bool, err error) {
	switch escape {
	case `\d`, `\D`:
		return category("Nd"), escape == `\D`, nil
	case `\w`, `\W`: // Alphabetic, M, Nd and Pc; Oniguruma adds the numbers of Latin-1 outside brackets
		members = category("L") + category("M") + category("Nd") + category("Nl") + category("Pc") +
			"Ⓐ-ⓩ\U0001F130-\U0001F149\U0001F150-\U0001F169\U0001F170-\U0001F189"
		if alone {
			members += "²³¹¼-¾"
		}
		return members, escape == `\W`, nil
	}
	switch c := escape[1]; {
	case c == 'p' || c == 'P':
		name := escape[3 : len(escape)-1]
		if unicode.Categories[name] == nil && unicode.Scripts[name] == nil {
			return "", false, fmt.Errorf("%s is not supported: no general category or script", escape)
		}
		if members = category(name); members == `\p{`+name+`}` {
			members = ""
		}
		return members, c == 'P', nil
	case strings.IndexByte("bBhHRXKGQEyYNOkgzZA", c) >= 0: // b as a backspace in a class
		return "", false, fmt.Errorf("%s is not supported", escape)
	}
	return "", false, nil
}

// category gives the members of a general category or a script.
func category(name string) string {
	var out strings.Builder
	fmt.Fprintf(&out, `\p{%s}`, name)
	for _, sub := range slices.Sorted(maps.Keys(unicode16)) {
		if sub == name || len(sub) == 2 && sub[:1] == name {
			for _, r := range unicode16[sub] {
				fmt.Fprintf(&out, "%c-%c", r.Lo, r.Hi)
			}
		}
	}
	return out.String()
}
