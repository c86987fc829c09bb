package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// decoder turns tokens back into text, all at once; what it returns is joined without spaces.
type decoder func(tokens []string) []string

// each makes a decoder out of what is done to every token by itself.
func each(f func(string) string) decoder {
	return func(tokens []string) []string {
		for i, tok := range tokens {
			tokens[i] = f(tok)
		}
		return tokens
	}
}

// buildDecoder returns nil if there is no decoder.
func buildDecoder(o *object) (decoder, error) {
	if o == nil {
		return nil, nil
	}
	var d decoder
	switch kind := o.kind(); kind {
	case "Sequence":
		var list []decoder
		for _, child := range o.children("decoders") {
			d, err := buildDecoder(child)
			if err != nil {
				return nil, err
			}
			list = append(list, d)
		}
		d = func(tokens []string) []string {
			for _, f := range list {
				tokens = f(tokens)
			}
			return tokens
		}
	case "ByteLevel":
		o.ignore("add_prefix_space", "trim_offsets", "use_regex")
		d = decodeAlphabet
	case "ByteFallback":
		d = decodeByteTokens
	case "Fuse":
		d = func(tokens []string) []string { return []string{strings.Join(tokens, "")} }
	case "Metaspace":
		d = readMetaspace(o).decode
	case "Replace":
		replace, err := buildReplace(o)
		if err != nil {
			return nil, err
		}
		d = each(replace)
	case "Strip":
		content, start, stop := o.char("content"), o.count("start"), o.count("stop")
		d = each(func(tok string) string {
			for i := 0; i < start && content != "" && strings.HasPrefix(tok, content); i++ {
				tok = tok[len(content):]
			}
			for i := 0; i < stop && content != "" && strings.HasSuffix(tok, content); i++ {
				tok = tok[:len(tok)-len(content)]
			}
			return tok
		})
	case "WordPiece":
		prefix, cleanup := o.string("prefix"), o.bool("cleanup")
		d = func(tokens []string) []string {
			for i, tok := range tokens {
				if i > 0 {
					rest, ok := strings.CutPrefix(tok, prefix)
					if !ok {
						rest = " " + tok
					}
					tok = rest
				}
				if cleanup {
					tok = cleanUp(tok)
				}
				tokens[i] = tok
			}
			return tokens
		}
	case "BPEDecoder":
		suffix := o.string("suffix")
		d = func(tokens []string) []string {
			for i, tok := range tokens {
				space := " "
				if i == len(tokens)-1 {
					space = ""
				}
				tokens[i] = strings.ReplaceAll(tok, suffix, space)
			}
			return tokens
		}
	default:
		return nil, o.unsupported(kind)
	}
	return d, o.done()
}

// decodeAlphabet reads tokens in the byte alphabet; one with other characters stands for itself.
func decodeAlphabet(tokens []string) []string {
	var out []byte
	for _, tok := range tokens {
		var ok bool
		if out, ok = appendBytes(out, tok); !ok {
			out = append(out, tok...)
		}
	}
	return []string{toUTF8(string(out))}
}

// decodeByteTokens joins runs of <0xNN>. A run that is not UTF-8 gives one U+FFFD a byte.
func decodeByteTokens(tokens []string) []string {
	out := make([]string, 0, len(tokens))
	var run []byte
	flush := func() {
		if utf8.Valid(run) {
			out = append(out, string(run))
		} else {
			out = append(out, strings.Repeat("\uFFFD", len(run)))
		}
		run = run[:0]
	}
	for _, tok := range tokens {
		if b, ok := parseByteToken(tok); ok {
			run = append(run, b)
			continue
		}
		if len(run) > 0 {
			flush()
		}
		out = append(out, tok)
	}
	if len(run) > 0 {
		flush()
	}
	return out
}

func (m metaspace) decode(tokens []string) []string {
	for i, tok := range tokens {
		space := " "
		if i == 0 && m.scheme != "never" {
			space = ""
		}
		tokens[i] = strings.ReplaceAll(tok, m.sign, space)
	}
	return tokens
}

// cleanUp takes away the spaces that BERT's tokenisation puts around signs, in the official order.
func cleanUp(s string) string {
	for _, r := range [][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
		{" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

// toUTF8 puts one U+FFFD for each longest beginning of a broken sequence (The Unicode Standard, table
// 3-8), as Rust's from_utf8_lossy and Python's errors="replace" do.
func toUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			n = brokenLen(s[i:])
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	return string(out)
}

// brokenLen gives the length of the longest beginning of s that a valid sequence could have, s being
// no valid one; at least 1.
func brokenLen(s string) int {
	lo, hi, want := byte(0x80), byte(0xBF), 0
	switch c := s[0]; {
	case 0xC2 <= c && c <= 0xDF:
		want = 1
	case 0xE0 <= c && c <= 0xEF:
		want = 2
	case 0xF0 <= c && c <= 0xF4:
		want = 3
	}
	switch s[0] { // overlong forms, surrogates and what lies beyond U+10FFFF break at the second byte
	case 0xE0:
		lo = 0xA0
	case 0xED:
		hi = 0x9F
	case 0xF0:
		lo = 0x90
	case 0xF4:
		hi = 0x8F
	}
	n := 1
	for n <= want && n < len(s) && lo <= s[n] && s[n] <= hi {
		n++
		lo, hi = 0x80, 0xBF
	}
	return n
}
