package tokenizer

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The four normal forms of Unicode (UAX #15), as the official library gives them: by Unicode 9's data,
// and without the limit of 30 marks in a row after which golang.org/x/text puts in a joiner. The data
// is x/text's; the algorithm runs here wherever the two could differ.

type form struct {
	data    norm.Form // decides whether a text is in the form already
	split   norm.Form // its decompositions
	compose bool
}

var (
	formNFC  = form{norm.NFC, norm.NFD, true}
	formNFD  = form{norm.NFD, norm.NFD, false}
	formNFKC = form{norm.NFKC, norm.NFKD, true}
	formNFKD = form{norm.NFKD, norm.NFKD, false}
)

func (f form) normalize(s string) string {
	if isASCII(s) {
		return s
	}
	out := make([]byte, 0, len(s)+len(s)/8)
	for i := 0; i < len(s); {
		// ASCII is in every form, but for the last character before others: a mark may join it.
		j := i
		for j < len(s) && s[j] < utf8.RuneSelf {
			j++
		}
		if i < j && j < len(s) {
			j--
		}
		out = append(out, s[i:j]...)
		for i = min(j+1, len(s)); i < len(s) && s[i] >= utf8.RuneSelf; {
			i++
		}
		out = f.append(out, s[j:i])
	}
	return string(out)
}

// append appends the normal form of s.
func (f form) append(out []byte, s string) []byte {
	if f.data.IsNormalString(s) && strings.IndexFunc(s, isLate) < 0 {
		return append(out, s...)
	}
	list := f.decompose(s)
	if f.compose {
		list = compose(list)
	}
	for _, c := range list {
		out = utf8.AppendRune(out, c.r)
	}
	return out
}

// classed is a rune with its canonical combining class, 0 for a starter.
type classed struct {
	r   rune
	ccc uint8
}

// decompose gives the decomposition of s in canonical order.
func (f form) decompose(s string) []classed {
	list := make([]classed, 0, len(s))
	for i, r := range s {
		if isLate(r) {
			list = append(list, classed{r, 0})
			continue
		}
		if l, v, t, ok := splitHangul(r); ok {
			if list = append(list, classed{l, 0}, classed{v, 0}); t > 0 {
				list = append(list, classed{t, 0})
			}
			continue
		}
		p := f.split.PropertiesString(s[i:])
		parts := p.Decomposition()
		if parts == nil {
			list = append(list, classed{r, p.CCC()})
			continue
		}
		for len(parts) > 0 {
			r, n := utf8.DecodeRune(parts)
			list = append(list, classed{r, f.split.Properties(parts).CCC()})
			parts = parts[n:]
		}
	}
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && list[j].ccc > 0 {
			j++
		}
		slices.SortStableFunc(list[i:j], func(a, b classed) int { return int(a.ccc) - int(b.ccc) })
		i = j + 1
	}
	return list
}

// compose joins starters with what follows and is not blocked, in place.
func compose(list []classed) []classed {
	pairs := compositions()
	out := list[:0]
	starter, last := -1, -1 // last: the class between the starter and here; -1: nothing stands between
	for _, c := range list {
		if starter >= 0 && last < int(c.ccc) {
			if joined := joinHangul(out[starter].r, c.r); joined > 0 {
				out[starter].r = joined
				continue
			}
			if joined, ok := pairs[[2]rune{out[starter].r, c.r}]; ok {
				out[starter].r = joined
				continue
			}
		}
		if c.ccc == 0 {
			starter, last = len(out), -1
		} else {
			last = int(c.ccc)
		}
		out = append(out, c)
	}
	return out
}

// compositions gives the rune that two runes compose to. A composed rune's full decomposition is that
// of its first part, then its second.
var compositions = sync.OnceValue(func() map[[2]rune]rune {
	pairs := map[[2]rune]rune{}
	for _, block := range []runeRange{{0xA0, 0x30FF}, {0x11000, 0x11FFF}} { // no others have any
		for r := block.lo; r <= block.hi; r++ {
			s := string(r)
			parts := norm.NFD.PropertiesString(s).Decomposition()
			if parts == nil || isLate(r) || norm.NFC.String(s) != s {
				continue
			}
			second, n := utf8.DecodeLastRune(parts)
			first, _ := utf8.DecodeRune(norm.NFC.Bytes(parts[:len(parts)-n]))
			pairs[[2]rune{first, second}] = r
		}
	}
	return pairs
})

// Hangul syllables are computed (The Unicode Standard, section 3.12).
const (
	hangulS, hangulL, hangulV, hangulT     = 0xAC00, 0x1100, 0x1161, 0x11A7
	hangulLs, hangulVs, hangulTs, hangulSs = 19, 21, 28, 19 * 21 * 28
)

func splitHangul(r rune) (l, v, t rune, ok bool) {
	i := r - hangulS
	if i < 0 || i >= hangulSs {
		return 0, 0, 0, false
	}
	if t = i % hangulTs; t > 0 {
		t += hangulT
	}
	return hangulL + i/(hangulVs*hangulTs), hangulV + i/hangulTs%hangulVs, t, true
}

// joinHangul gives the syllable of a leading consonant and a vowel, or of such a syllable and a trailing
// consonant; 0 for anything else.
func joinHangul(a, b rune) rune {
	if l, v := a-hangulL, b-hangulV; 0 <= l && l < hangulLs && 0 <= v && v < hangulVs {
		return hangulS + (l*hangulVs+v)*hangulTs
	}
	if s, t := a-hangulS, b-hangulT; 0 <= s && s < hangulSs && s%hangulTs == 0 && 0 < t && t < hangulTs {
		return a + t
	}
	return 0
}
