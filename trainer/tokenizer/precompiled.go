package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// charsmap is SentencePiece's normalisation as its models carry it: a double-array trie (Aoe 1989, in
// the layout of the darts-clone library) from character sequences to offsets in one long text, where
// each replacement ends with a NUL.
type charsmap struct {
	units []uint32
	text  string
	plain [utf8.RuneSelf]bool // ASCII that stays as it is
}

// maxCluster is the length in bytes from which a grapheme cluster is looked up rune by rune only.
const maxCluster = 6

// cluster matches one extended grapheme cluster (UAX #29).
var cluster = sync.OnceValue(func() *regexp2.Regexp { return regexp2.MustCompile(`\X`) })

// readPrecompiled reads base64 of: size of the trie in bytes (little-endian uint32), trie, text.
func readPrecompiled(o *object) normalizer {
	data, err := base64.StdEncoding.DecodeString(o.string("precompiled_charsmap"))
	if err != nil {
		o.fail("precompiled_charsmap", "%w", err)
		return nil
	}
	if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
		o.fail("precompiled_charsmap", "%d bytes are shorter than the trie they announce", len(data))
		return nil
	}
	size := binary.LittleEndian.Uint32(data) / 4 * 4
	trie, text := data[4:4+size], data[4+size:]
	if len(trie) == 0 || !utf8.Valid(text) {
		o.fail("precompiled_charsmap", "want a trie and UTF-8 text")
		return nil
	}
	m := &charsmap{text: string(text)}
	for entry := range strings.SplitSeq(m.text, "\x00") {
		if len(entry) > maxAffix {
			o.fail("precompiled_charsmap", "a replacement of %d bytes; at most %d are supported", len(entry), maxAffix)
			return nil
		}
	}
	for ; len(trie) > 0; trie = trie[4:] {
		m.units = append(m.units, binary.LittleEndian.Uint32(trie))
	}
	for c := range m.plain {
		_, changed := m.lookup(string(rune(c)))
		m.plain[c] = !changed
	}
	return m.normalize
}

// normalize replaces grapheme clusters, or else the runes of them. Between two ASCII characters a cluster
// always ends, but for \r\n; what lies between two such places goes to the engine that finds clusters.
func (m *charsmap) normalize(s string) string {
	out := make([]byte, 0, len(s)+len(s)/8)
	ends := func(i int) bool {
		return i == len(s) || s[i-1] < utf8.RuneSelf && s[i] < utf8.RuneSelf && s[i-1] != '\r'
	}
	for i := 0; i < len(s); {
		j := i + 1
		for !ends(j) {
			j++
		}
		switch {
		case j > i+1:
			out = m.appendClusters(out, s[i:j])
		case m.plain[s[i]]:
			out = append(out, s[i])
		default:
			out = m.appendCluster(out, s[i:j])
		}
		i = j
	}
	return string(out)
}

func (m *charsmap) appendClusters(out []byte, s string) []byte {
	rest := s
	_ = cluster().FindRunesMatches([]rune(s), 0, func(v regexp2.MatchView) bool {
		_, length, _ := v.GroupRange(0)
		end := 0
		for ; length > 0; length-- {
			_, n := utf8.DecodeRuneInString(rest[end:])
			end += n
		}
		out = m.appendCluster(out, rest[:end])
		rest = rest[end:]
		return true
	})
	return out
}

func (m *charsmap) appendCluster(out []byte, s string) []byte {
	if len(s) < maxCluster {
		if to, ok := m.lookup(s); ok {
			return append(out, to...)
		}
	}
	for i, r := range s {
		if to, ok := m.lookup(s[i : i+utf8.RuneLen(r)]); ok {
			out = append(out, to...)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// lookup gives the replacement of the shortest entry that begins s. (The library that made these tables
// takes the longest; the official library takes the shortest.)
func (m *charsmap) lookup(s string) (to string, ok bool) {
	pos := offset(m.units[0])
	for i := 0; i < len(s) && s[i] != 0; i++ {
		pos ^= uint64(s[i])
		if pos >= uint64(len(m.units)) {
			return "", false
		}
		u := m.units[pos]
		if u&(1<<31|0xFF) != uint32(s[i]) {
			return "", false
		}
		pos ^= offset(u)
		if u>>8&1 == 0 {
			continue
		}
		if pos >= uint64(len(m.units)) {
			return "", false
		}
		at := m.units[pos] &^ (1 << 31)
		if uint64(at) > uint64(len(m.text)) {
			return "", false
		}
		to, _, _ = strings.Cut(m.text[at:], "\x00")
		return toUTF8(to), true
	}
	return "", false
}

// offset is where a unit's children are, relative to it.
func offset(unit uint32) uint64 { return uint64(unit>>10) << ((unit & (1 << 9)) >> 6) }
