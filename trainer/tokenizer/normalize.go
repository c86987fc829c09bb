package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// normalizer rewrites a text before it is cut; nil leaves it as it is.
type normalizer func(string) string

func buildNormalizer(o *object) (normalizer, error) {
	if o == nil {
		return nil, nil
	}
	var n normalizer
	switch kind := o.kind(); kind {
	case "Sequence":
		var list []normalizer
		for _, child := range o.children("normalizers") {
			n, err := buildNormalizer(child)
			if err != nil {
				return nil, err
			}
			list = append(list, n)
		}
		n = func(s string) string {
			for _, f := range list {
				s = f(s)
			}
			return s
		}
	case "NFC":
		n = formNFC.normalize
	case "NFD":
		n = formNFD.normalize
	case "NFKC":
		n = formNFKC.normalize
	case "NFKD":
		n = formNFKD.normalize
	case "Lowercase":
		n = lowercase
	case "StripAccents":
		n = func(s string) string { return remove(s, isMark) }
	case "Nmt":
		n = nmt
	case "ByteLevel":
		n = toAlphabet
	case "Strip":
		left, right := o.bool("strip_left"), o.bool("strip_right")
		n = func(s string) string {
			if left {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if right {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		}
	case "Prepend":
		text := o.short("prepend", true)
		n = func(s string) string {
			if s == "" {
				return s
			}
			return text + s
		}
	case "Replace":
		replace, err := buildReplace(o)
		if err != nil {
			return nil, err
		}
		n = replace
	case "BertNormalizer":
		n = readBert(o)
	case "Precompiled":
		n = readPrecompiled(o)
	default:
		return nil, o.unsupported(kind)
	}
	return n, o.done()
}

// keepsStart tells the normalizers after which a text still begins where it began. Metaspace's "first"
// asks for that; after others the official library answers by tracking every byte, which is not done here.
func keepsStart(o *object) bool {
	if o == nil {
		return true
	}
	switch o.kind() {
	case "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Prepend":
		return true
	case "Replace":
		p := o.child("pattern")
		return o.string("content") != "" && p != nil && utf8.RuneCountInString(p.stringOr("String", "")) == 1
	case "Sequence":
		for _, child := range o.children("normalizers") {
			if !keepsStart(child) {
				return false
			}
		}
		return true
	}
	return false
}

// buildReplace is also a decoder's.
func buildReplace(o *object) (func(string) string, error) {
	content := o.short("content", true)
	pattern, err := readPattern(o, "pattern")
	if err != nil {
		return nil, err
	}
	if pattern.literal != "" {
		return func(s string) string { return strings.ReplaceAll(s, pattern.literal, content) }, nil
	}
	return func(s string) string {
		if s == "" {
			return s
		}
		var out strings.Builder
		for _, part := range pattern.find(s) {
			if part.Match {
				out.WriteString(content)
			} else {
				out.WriteString(s[part.A:part.B])
			}
		}
		return out.String()
	}, nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// remove drops the runes that drop tells; it keeps ASCII.
func remove(s string, drop func(rune) bool) string {
	if isASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if drop(r) {
			return -1
		}
		return r
	}, s)
}

// lowercase is Rust's char::to_lowercase on every rune: no rule looks at the neighbours.
func lowercase(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	out := make([]byte, 0, len(s)+8)
	for _, r := range s {
		if r == 'İ' {
			out = append(out, "i\u0307"...)
			continue
		}
		out = utf8.AppendRune(out, lower(r))
	}
	return string(out)
}

// lower adds to Go's table the letters that came after Unicode 15.
func lower(r rune) rune {
	switch {
	case r < 0x1C89:
	case r == 0xA7CB:
		return 0x264
	case r == 0xA7DC:
		return 0x19B
	case r == 0x1C89, r == 0xA7CC, r == 0xA7CE, r == 0xA7D2, r == 0xA7D4, r == 0xA7DA:
		return r + 1
	case 0x10D50 <= r && r <= 0x10D65:
		return r + 0x20
	case 0x16EA0 <= r && r <= 0x16EB8:
		return r + 0x1B
	}
	return unicode.ToLower(r)
}

// nmt is SentencePiece's normalisation for machine translation: control characters go, separators and
// signs without width become spaces.
func nmt(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 0x01 <= r && r <= 0x08, r == 0x0B, 0x0E <= r && r <= 0x1F, r == 0x7F, r == 0x8F, r == 0x9F:
			return -1
		case r == '\t', r == '\n', r == '\f', r == '\r', r == 0x1680, 0x200B <= r && r <= 0x200F,
			r == 0x2028, r == 0x2029, r == 0x2581, r == 0xFEFF, r == 0xFFFD:
			return ' '
		}
		return r
	}, s)
}

// readBert is BERT's: clean the text, set Chinese characters apart, strip accents, lower the case.
func readBert(o *object) normalizer {
	clean, chinese, low := o.bool("clean_text"), o.bool("handle_chinese_chars"), o.bool("lowercase")
	strip := o.boolOr("strip_accents", low)
	return func(s string) string {
		if clean {
			s = strings.Map(cleanRune, s)
		}
		if chinese && !isASCII(s) {
			out := make([]byte, 0, len(s)+len(s)/4)
			for _, r := range s {
				if isChinese(r) {
					out = append(utf8.AppendRune(append(out, ' '), r), ' ')
				} else {
					out = utf8.AppendRune(out, r)
				}
			}
			s = string(out)
		}
		if strip {
			s = remove(formNFD.normalize(s), isAccent)
		}
		if low {
			s = lowercase(s)
		}
		return s
	}
}

// cleanRune drops control characters and makes every space a plain one.
func cleanRune(r rune) rune {
	switch {
	case ' ' <= r && r < 0x7F:
		return r
	case r == 0, r == utf8.RuneError, isControl(r):
		return -1
	case unicode.IsSpace(r):
		return ' '
	}
	return r
}

// isChinese has the blocks that BERT lists, U+2B820 to U+2B91F not among them.
func isChinese(r rune) bool {
	switch {
	case 0x4E00 <= r && r <= 0x9FFF, 0x3400 <= r && r <= 0x4DBF, 0x20000 <= r && r <= 0x2A6DF,
		0x2A700 <= r && r <= 0x2B73F, 0x2B740 <= r && r <= 0x2B81F, 0x2B920 <= r && r <= 0x2CEAF,
		0xF900 <= r && r <= 0xFAFF, 0x2F800 <= r && r <= 0x2FA1F:
		return true
	}
	return false
}
