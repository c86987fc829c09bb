package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/shannon-control/scu/trainer/tokenizer/internal/regex"
)

// Pre-tokenisers cut a text into the pieces that the model sees one by one.

// splitter gives the end of the piece that starts at s[i], and whether the piece is kept.
type splitter func(s string, i int) (end int, keep bool)

// piece is a part of a text; first reports whether it begins where the text given to Encode begins.
type piece struct {
	s     string
	first bool
}

// step is one pre-tokeniser; it gives next every piece that it makes of p. None is ever empty.
type step func(p piece, next func(piece))

// preTokenizer is the whole chain: steps, then one splitter.
type preTokenizer struct {
	steps []step
	last  splitter // nil: the pieces stay whole
	// byteLevel: the model wants the byte alphabet. Where ByteLevel ends the chain, the model takes the
	// raw bytes instead (see bpe), and nothing is ever mapped.
	byteLevel bool
	first     bool // a Metaspace asks where the text begins
}

// push ends the chain with next, which makes the splitter before it an ordinary step.
func (p *preTokenizer) push(next splitter) {
	p.flush()
	p.last = next
}

func (p *preTokenizer) add(s step) {
	p.flush()
	p.steps = append(p.steps, s)
}

func (p *preTokenizer) flush() {
	if p.byteLevel {
		p.byteLevel = false
		p.add(mapToAlphabet)
	}
	if p.last != nil {
		cut := *p
		p.last = nil
		p.add(func(q piece, next func(piece)) {
			cut.each(q.s, func(s string, at int) { next(piece{s, q.first && at == 0}) })
		})
	}
}

// run takes a piece through the chain and calls f for every piece at its end.
func (p *preTokenizer) run(q piece, f func(s string)) {
	next := func(q piece) { p.each(q.s, func(s string, _ int) { f(s) }) }
	for _, step := range slices.Backward(p.steps) {
		after := next
		next = func(q piece) { step(q, after) }
	}
	next(q)
}

// each calls f for every piece that the last splitter makes of s.
func (p *preTokenizer) each(s string, f func(s string, at int)) {
	if p.last == nil {
		f(s, 0)
		return
	}
	for i := 0; i < len(s); {
		end, keep := p.last(s, i)
		if keep {
			f(s[i:end], i)
		}
		i = end
	}
}

func buildPreTokenizer(o *object, p *preTokenizer) error {
	if o == nil {
		return nil
	}
	t := classes()
	switch kind := o.kind(); kind {
	case "Sequence":
		for _, child := range o.children("pretokenizers") {
			if err := buildPreTokenizer(child, p); err != nil {
				return err
			}
		}
	case "ByteLevel":
		o.ignore("trim_offsets")
		if o.bool("add_prefix_space") {
			p.add(prefixSpace)
		}
		if o.boolOr("use_regex", true) {
			p.push(gpt2())
		} else if p.byteLevel {
			p.flush()
		}
		p.byteLevel = true
	case "Split":
		if err := buildSplit(o, p); err != nil {
			return err
		}
	case "Digits":
		if one := o.bool("individual_digits"); one {
			p.push(t.isolate(cNumeric))
		} else {
			p.push(t.alternate(cNumeric))
		}
	case "Punctuation":
		switch b := o.stringOr("behavior", "Isolated"); b {
		case "Isolated":
			p.push(t.isolate(cPunct))
		case "Contiguous":
			p.push(t.alternate(cPunct))
		default:
			if err := addSplit(o, p, t.singles(cPunct), b); err != nil {
				return err
			}
		}
	case "WhitespaceSplit":
		p.push(func(s string, i int) (int, bool) {
			if k, n := t.at(s, i); k&cSpace != 0 {
				return t.run(s, i+n, cSpace), false
			}
			return t.runNot(s, i, cSpace), true
		})
	case "BertPreTokenizer":
		p.push(func(s string, i int) (int, bool) {
			switch k, n := t.at(s, i); {
			case k&cSpace != 0:
				return t.run(s, i+n, cSpace), false
			case k&cPunct != 0:
				return i + n, true
			}
			return t.runNot(s, i, cSpace|cPunct), true
		})
	case "Whitespace": // \w+|[^\w\s]+
		p.push(func(s string, i int) (int, bool) {
			switch k, n := t.at(s, i); {
			case k&cWord != 0:
				return t.run(s, i+n, cWord), true
			case k&cSpace != 0:
				return t.run(s, i+n, cSpace), false
			}
			return t.runNot(s, i, cWord|cSpace), true
		})
	case "CharDelimiterSplit":
		find, err := compileLiteral(o.char("delimiter"))
		if err != nil {
			return fmt.Errorf("%s.delimiter: %w", o.path, err)
		}
		p.add(splitStep(find, "Removed"))
	case "Metaspace":
		m := readMetaspace(o)
		p.add(m.preTokenize)
		p.first = p.first || m.scheme == "first"
	default:
		return o.unsupported(kind)
	}
	return o.done()
}

// gpt2 is ByteLevel's own pattern.
var gpt2 = sync.OnceValue(func() splitter {
	p, err := regex.Compile(patternGPT2)
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return splitBy(p.Automaton(), true, true)
})

const patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// splitBy cuts a text into the matches of a and what lies between them.
func splitBy(a *regex.Automaton, keepMatches, keepOthers bool) splitter {
	return func(s string, i int) (int, bool) {
		if end := a.Match(s, i); end >= 0 {
			return end, keepMatches
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		start, _ := a.Next(s, i+n)
		return start, keepOthers
	}
}

// isolate cuts out every rune of the class.
func (t *classTable) isolate(want class) splitter {
	return func(s string, i int) (int, bool) {
		if k, n := t.at(s, i); k&want != 0 {
			return i + n, true
		}
		return t.runNot(s, i, want), true
	}
}

// alternate cuts where runes of the class and others meet.
func (t *classTable) alternate(want class) splitter {
	return func(s string, i int) (int, bool) {
		if k, n := t.at(s, i); k&want != 0 {
			return t.run(s, i+n, want), true
		}
		return t.runNot(s, i, want), true
	}
}

// singles matches every single rune of the class.
func (t *classTable) singles(want class) finder {
	return func(s string) (spans []regex.Span) {
		for i := 0; i < len(s); {
			if k, n := t.at(s, i); k&want != 0 {
				spans = append(spans, regex.Span{A: i, B: i + n, Match: true})
				i += n
				continue
			}
			j := t.runNot(s, i, want)
			spans = append(spans, regex.Span{A: i, B: j})
			i = j
		}
		return spans
	}
}

func buildSplit(o *object, p *preTokenizer) error {
	behavior, invert := o.string("behavior"), o.bool("invert")
	pattern, err := readPattern(o, "pattern")
	if err != nil {
		return err
	}
	find := pattern.find
	if pattern.auto != nil && (behavior == "Isolated" || behavior == "Removed") {
		isolated := behavior == "Isolated"
		p.push(splitBy(pattern.auto, isolated || invert, isolated || !invert))
		return nil
	}
	if invert {
		plain := find
		find = func(s string) []regex.Span {
			spans := plain(s)
			for i := range spans {
				spans[i].Match = !spans[i].Match
			}
			return spans
		}
	}
	return addSplit(o, p, find, behavior)
}

func addSplit(o *object, p *preTokenizer, find finder, behavior string) error {
	if !slices.Contains([]string{"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"}, behavior) {
		o.fail("behavior", "%q is not supported", behavior)
		return o.err
	}
	p.add(splitStep(find, behavior))
	return nil
}

func splitStep(find finder, behavior string) step {
	return func(p piece, next func(piece)) {
		for _, s := range arrange(find(p.s), behavior) {
			if s.B > s.A {
				next(piece{p.s[s.A:s.B], p.first && s.A == 0})
			}
		}
	}
}

// arrange makes the pieces of a Split out of the matches and what lies between them.
func arrange(spans []regex.Span, behavior string) []regex.Span {
	if behavior == "Isolated" {
		return spans
	}
	if behavior == "MergedWithNext" {
		slices.Reverse(spans)
	}
	out, previous := spans[:0], false // previous: whether the span before was a match
	for _, s := range spans {
		join := false
		switch behavior {
		case "Removed":
			if s.Match {
				continue
			}
		case "Contiguous":
			join = s.Match == previous
		default:
			join = s.Match && !previous
		}
		if previous = s.Match; join && len(out) > 0 {
			last := &out[len(out)-1]
			last.A, last.B = min(last.A, s.A), max(last.B, s.B)
		} else {
			out = append(out, s)
		}
	}
	if behavior == "MergedWithNext" {
		slices.Reverse(out)
	}
	return out
}

func prefixSpace(p piece, next func(piece)) {
	if !strings.HasPrefix(p.s, " ") {
		p.s = " " + p.s
	}
	next(p)
}

func mapToAlphabet(p piece, next func(piece)) {
	p.s = toAlphabet(p.s)
	next(p)
}

// metaspace writes spaces as a visible sign, and puts one before the text.
type metaspace struct {
	sign   string
	scheme string // always, first, never
	split  bool
}

func readMetaspace(o *object) metaspace {
	o.ignore("str_rep")
	m := metaspace{o.char("replacement"), o.stringOr("prepend_scheme", "always"), o.boolOr("split", true)}
	switch m.scheme {
	case "always", "first", "never":
	default:
		o.fail("prepend_scheme", "%q is not supported", m.scheme)
	}
	if !o.boolOr("add_prefix_space", true) {
		if _, given := o.fields["prepend_scheme"]; given && m.scheme != "never" {
			o.fail("add_prefix_space", "false, but prepend_scheme is %q", m.scheme)
		}
		m.scheme = "never"
	}
	return m
}

func (m metaspace) preTokenize(p piece, next func(piece)) {
	s := strings.ReplaceAll(p.s, " ", m.sign)
	if m.scheme == "always" || m.scheme == "first" && p.first {
		if !strings.HasPrefix(s, m.sign) {
			s = m.sign + s
		}
	}
	start := 0
	for m.split {
		i := strings.Index(s[start+1:], m.sign)
		if i < 0 {
			break
		}
		i += start + 1
		next(piece{s[start:i], p.first && start == 0})
		start = i
	}
	next(piece{s[start:], p.first && start == 0})
}

// The byte alphabet: GPT-2 writes each byte as a printable character, so that any text is a string of
// visible characters (bytes_to_unicode in OpenAI's encoder.py).
var (
	alphabetOf = func() (of [256]rune) {
		next := rune(256)
		for b := range of {
			if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
				of[b] = rune(b)
			} else {
				of[b] = next
				next++
			}
		}
		return of
	}()
	byteOf = func() (of [324]int16) {
		for r := range of {
			of[r] = -1
		}
		for b, r := range alphabetOf {
			of[r] = int16(b)
		}
		return of
	}()
)

func toAlphabet(s string) string {
	out := make([]byte, 0, len(s)+len(s)/2)
	for i := 0; i < len(s); i++ {
		out = utf8.AppendRune(out, alphabetOf[s[i]])
	}
	return string(out)
}

// appendBytes appends the bytes that tok spells in the byte alphabet; ok is false, and dst as it was,
// where a character of tok is not of the alphabet.
func appendBytes(dst []byte, tok string) (out []byte, ok bool) {
	out = dst
	for _, r := range tok {
		if int(r) >= len(byteOf) || byteOf[r] < 0 {
			return dst, false
		}
		out = append(out, byte(byteOf[r]))
	}
	return out, true
}
