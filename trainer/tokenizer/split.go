package tokenizer

import "unicode/utf8"

// The pre-tokenisation patterns of the published byte-level models, by hand: ten to fifty times the speed of
// a regular-expression engine, and without its limits. A splitter returns the end of the piece that
// starts at s[i]; it tries the pattern's alternatives in their order. The tests hold each one against
// the official library and against the engine.

type splitter func(s string, i int) int

const (
	contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	wordBody     = `[^\r\n\p{L}\p{N}]?\p{L}+`
	blanks       = `\s*[\r\n]+|\s+(?!\S)|\s+`
	upperRun     = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
	lowerRun     = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	casedWord1   = `[^\r\n\p{L}\p{N}]?` + upperRun + `*` + lowerRun + `+`
	casedWord2   = `[^\r\n\p{L}\p{N}]?` + upperRun + `+` + lowerRun + `*`

	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = contractions + `|` + wordBody + `|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + blanks
	patternCL100K = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
	patternQwen2  = contractions + `|` + wordBody + `|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + blanks
	patternTekken = casedWord1 + `|` + casedWord2 + `|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + blanks
	patternO200K  = casedWord1 + contractions + `?|` + casedWord2 + contractions + `?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + blanks
)

// knownSplitter gives the hand-written splitter of a pattern, nil where there is none.
func knownSplitter(pattern string) splitter {
	t := classes()
	switch pattern {
	case patternGPT2:
		return t.gpt2
	case patternLlama3, patternCL100K:
		return func(s string, i int) int { return t.cl100k(s, i, 3) }
	case patternQwen2:
		return func(s string, i int) int { return t.cl100k(s, i, 1) }
	case patternTekken:
		return func(s string, i int) int { return t.o200k(s, i, 1, false) }
	case patternO200K:
		return func(s string, i int) int { return t.o200k(s, i, 3, true) }
	}
	return nil
}

// run returns the end of the run of runes from i that have one of the classes.
func (t *classTable) run(s string, i int, want class) int {
	for i < len(s) {
		k, n := t.at(s, i)
		if k&want == 0 {
			break
		}
		i += n
	}
	return i
}

// runNot returns the end of the run of runes from i that have none of the classes.
func (t *classTable) runNot(s string, i int, not class) int {
	for i < len(s) {
		k, n := t.at(s, i)
		if k&not != 0 {
			break
		}
		i += n
	}
	return i
}

// contraction matches 's|'t|'re|'ve|'m|'ll|'d at i and returns its end, 0 where there is none. With
// fold, capitals match too, and U+017F for s.
func contraction(s string, i int, fold bool) int {
	if s[i] != '\'' {
		return 0
	}
	letter := func(j int) byte {
		if j >= len(s) {
			return 0
		}
		c := s[j]
		if fold && c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	switch letter(i + 1) {
	case 's', 't', 'm', 'd':
		return i + 2
	case 'r', 'v':
		if letter(i+2) == 'e' {
			return i + 3
		}
	case 'l':
		if letter(i+2) == 'l' {
			return i + 3
		}
	case "ſ"[0]:
		if fold && letter(i+2) == "ſ"[1] {
			return i + 3
		}
	}
	return 0
}

// blank matches \s+(?!\S)|\s+ at i, where white space stands: all of it at the end of the text, all but
// the last rune before something else, and a lone one in any case.
func (t *classTable) blank(s string, i int) int {
	last := i
	for j := i; j < len(s); {
		k, n := t.at(s, j)
		if k&cSpace == 0 {
			if last > i {
				return last
			}
			return j
		}
		last = j
		j += n
	}
	return len(s)
}

// newlines matches \s*[\r\n]+ at i and returns its end, 0 where it does not match.
func (t *classTable) newlines(s string, i int) int {
	end := 0
	for i < len(s) {
		k, n := t.at(s, i)
		if k&cSpace == 0 {
			break
		}
		i += n
		if k&cNewline != 0 {
			end = i
		}
	}
	return end
}

func (t *classTable) gpt2(s string, i int) int {
	if j := contraction(s, i, false); j > 0 {
		return j
	}
	p := i
	if s[i] == ' ' && i+1 < len(s) {
		p++
	}
	switch k, n := t.at(s, p); {
	case k&cLetter != 0:
		return t.run(s, p+n, cLetter)
	case k&cNumber != 0:
		return t.run(s, p+n, cNumber)
	case k&cSpace == 0:
		return t.runNot(s, p+n, cSpace|cLetter|cNumber)
	}
	return t.blank(s, i)
}

// cl100k is the pattern of GPT-4, Llama 3 (three digits a piece) and Qwen 2 (one).
func (t *classTable) cl100k(s string, i, digits int) int {
	if j := contraction(s, i, true); j > 0 {
		return j
	}
	k, n := t.at(s, i)
	if k&cLetter != 0 {
		return t.run(s, i+n, cLetter)
	}
	if k&(cNewline|cNumber) == 0 && i+n < len(s) {
		if k2, n2 := t.at(s, i+n); k2&cLetter != 0 {
			return t.run(s, i+n+n2, cLetter)
		}
	}
	return t.afterWords(s, i, digits, false)
}

// afterWords matches \p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ at i; with
// slash, / may follow punctuation as line ends do.
func (t *classTable) afterWords(s string, i, digits int, slash bool) int {
	if k, n := t.at(s, i); k&cNumber != 0 {
		for i += n; i < len(s) && digits > 1; digits-- {
			if k, n = t.at(s, i); k&cNumber == 0 {
				break
			}
			i += n
		}
		return i
	}
	p := i
	if s[i] == ' ' && i+1 < len(s) {
		p++
	}
	if k, n := t.at(s, p); k&(cSpace|cLetter|cNumber) == 0 {
		p = t.runNot(s, p+n, cSpace|cLetter|cNumber)
		for p < len(s) && (s[p] == '\r' || s[p] == '\n' || slash && s[p] == '/') {
			p++
		}
		return p
	}
	if j := t.newlines(s, i); j > 0 {
		return j
	}
	return t.blank(s, i)
}

// o200k is the pattern of GPT-4o (three digits a piece, contractions stay with their word) and of
// Mistral's Tekken (one digit, no contractions): words are cut where lower case turns to upper case.
func (t *classTable) o200k(s string, i, digits int, contracted bool) int {
	end := t.casedWord(s, i)
	if end == 0 {
		return t.afterWords(s, i, digits, true)
	}
	if contracted && end < len(s) {
		if j := contraction(s, end, true); j > 0 {
			return j
		}
	}
	return end
}

// casedWord matches casedWord1|casedWord2 at i and returns its end, 0 where neither matches.
func (t *classTable) casedWord(s string, i int) int {
	starts := []int{i, i}[:1]
	if k, n := t.at(s, i); k&(cNewline|cNumber|cLetter) == 0 && i+n < len(s) {
		starts = []int{i + n, i} // the optional first rune is tried first
	}
	for _, start := range starts {
		upper := t.run(s, start, cUpper)
		if end := t.run(s, upper, cLower); end > upper {
			return end
		}
		// No lower case after the run: the run gives back runes until one counts as lower case too.
		for upper > start {
			r, n := utf8.DecodeLastRuneInString(s[start:upper])
			if t.of(r)&cLower != 0 {
				return upper
			}
			upper -= n
		}
	}
	for _, start := range starts {
		if upper := t.run(s, start, cUpper); upper > start {
			return t.run(s, upper, cLower)
		}
	}
	return 0
}
