package tokenizer

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// model turns a piece of text into ids.
type model interface {
	appendEncode(dst []int32, piece string) []int32
	vocabulary() *vocab
	// size is what the official library calls the vocabulary's size: the number of its entries. Added
	// tokens that are not in the vocabulary get the ids from here on.
	size() int
}

// bpe is byte-pair encoding (Sennrich et al. 2016): a piece's characters, joined pair by pair, always
// the pair of the earliest merge first. Where ByteLevel ends the pre-tokenisers, pieces come as raw
// bytes and a symbol starts as one byte instead of the byte's character in the byte alphabet; merges
// are between ids, so the rest is the same.
type bpe struct {
	vocab        *vocab
	merges       *table // (left, right) -> (rank, joined)
	bytewise     bool
	byteIDs      [256]int32       // bytewise: id of each byte's character. Else: id of <0xNN>. -1: none
	words        map[string]int32 // bytewise with ignoreMerges: the vocabulary's tokens as raw bytes
	fallback     bool             // an unknown character becomes its bytes <0xNN>
	ignoreMerges bool             // a piece that is a token is that token
	fuseUnknown  bool
	unknown      int32 // -1: unknown characters are dropped
	prefix       string
	suffix       string
	joins        *joins // nil: pieces are not cut
	cache        *wordCache
	pool         sync.Pool // of *scratch
}

func buildBPE(o *object, bytewise bool) (*bpe, error) {
	m := &bpe{
		fallback:     o.boolOr("byte_fallback", false),
		ignoreMerges: o.boolOr("ignore_merges", false),
		fuseUnknown:  o.boolOr("fuse_unk", false),
		prefix:       o.short("continuing_subword_prefix", false),
		suffix:       o.short("end_of_word_suffix", false),
		unknown:      -1,
		cache:        newWordCache(),
		pool:         sync.Pool{New: func() any { return new(scratch) }},
	}
	var dropout float64
	if o.read("dropout", "a number", &dropout); dropout != 0 {
		o.fail("dropout", "%v: the same text would not give the same ids; set it to null", dropout)
	}
	o.ignore("type")
	unknown := o.stringOr("unk_token", "")
	vocabText, mergeText := o.raw("vocab"), o.raw("merges")
	if vocabText == "" {
		o.missing("vocab")
	}
	if mergeText == "" {
		o.missing("merges")
	}
	if err := o.done(); err != nil {
		return nil, err
	}
	var err error
	if m.vocab, err = parseVocab(o.path+".vocab", vocabText); err != nil {
		return nil, err
	}
	if unknown != "" {
		m.unknown = m.vocab.idOr(unknown, -1)
	}
	merges, err := parseMerges(o.path+".merges", mergeText)
	if err != nil {
		return nil, err
	}
	if err := m.addMerges(o.path+".merges", merges); err != nil {
		return nil, err
	}
	if complete := m.addBytes(bytewise); !complete && unknown != "" && m.unknown < 0 {
		return nil, fmt.Errorf("%s.unk_token: %q is not in the vocabulary", o.path, unknown)
	}
	return m, nil
}

type merge struct{ left, right string }

// maxMerges bounds the table of merges. Gemma's, the longest in common use, has 515,000.
const maxMerges = 1 << 22

// parseMerges reads [["a","b"],...], or the older ["a b",...].
func parseMerges(path, text string) ([]merge, error) {
	c := cursor{s: text}
	if c.peek() != '[' {
		return nil, fmt.Errorf("%s: want an array, got %.40s", path, text)
	}
	merges := make([]merge, 0, min(strings.Count(text, ",")/2+1, maxMerges/8))
	for c.next() {
		if len(merges) == maxMerges {
			return nil, fmt.Errorf("%s: more than %d", path, maxMerges)
		}
		switch c.peek() {
		case '"':
			line := unquote(c.value())
			if strings.HasPrefix(line, "#version") {
				continue
			}
			m, err := parseMerge(line)
			if err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", path, len(merges), err)
			}
			merges = append(merges, m)
		case '[':
			var pair [2]string
			n := 0
			for ; c.next(); n++ {
				if c.peek() != '"' || n == 2 {
					return nil, fmt.Errorf("%s[%d]: want two tokens", path, len(merges))
				}
				pair[n] = unquote(c.value())
			}
			if n != 2 {
				return nil, fmt.Errorf("%s[%d]: want two tokens", path, len(merges))
			}
			merges = append(merges, merge{pair[0], pair[1]})
		default:
			return nil, fmt.Errorf("%s[%d]: want two tokens, got %.40s", path, len(merges), c.value())
		}
	}
	return merges, nil
}

// parseMerge reads "a b".
func parseMerge(line string) (merge, error) {
	left, right, ok := strings.Cut(line, " ")
	if !ok || strings.Contains(right, " ") {
		return merge{}, fmt.Errorf("%.40q is not two tokens with a space between them", line)
	}
	return merge{left, right}, nil
}

func (m *bpe) addMerges(path string, merges []merge) error {
	m.merges = newTable(len(merges))
	m.joins = &joins{beforeSign: map[rune]bool{}}
	var joined []byte
	for rank, p := range merges {
		left, ok := m.vocab.id(p.left)
		if !ok {
			return fmt.Errorf("%s[%d]: token %.40q is not in the vocabulary", path, rank, p.left)
		}
		right, ok := m.vocab.id(p.right)
		if !ok {
			return fmt.Errorf("%s[%d]: token %.40q is not in the vocabulary", path, rank, p.right)
		}
		if len(p.right) < len(m.prefix) {
			return fmt.Errorf("%s[%d]: token %.40q is shorter than continuing_subword_prefix", path, rank, p.right)
		}
		// As the official library, cut the prefix's length without looking what stands there.
		joined = append(append(joined[:0], p.left...), p.right[len(m.prefix):]...)
		id, ok := m.vocab.ids[string(joined)]
		if !ok {
			return fmt.Errorf("%s[%d]: the joined token %.40q is not in the vocabulary", path, rank, joined)
		}
		m.merges.put(left, right, int32(rank), id)
		if m.joins != nil {
			m.joins.add(p)
			if m.standsForOther(p.left, left) || m.standsForOther(p.right, right) {
				m.joins = nil
			}
		}
	}
	return nil
}

// standsForOther tells the tokens that characters other than their own can start as.
func (m *bpe) standsForOther(tok string, id int32) bool {
	_, isByte := parseByteToken(tok)
	return isByte || id == m.unknown
}

// addBytes decides how pieces are read, and fills byteIDs for it. complete: every byte has a token, so
// nothing is ever unknown.
func (m *bpe) addBytes(bytewise bool) (complete bool) {
	if m.bytewise = bytewise && m.prefix == "" && m.suffix == ""; m.bytewise {
		complete = m.fillBytes(func(b byte) string { return string(alphabetOf[b]) })
		// What stands for an unknown byte is found by its character.
		m.bytewise = complete || m.unknown < 0 && !m.fallback
	}
	if m.bytewise {
		m.joins = nil
		if m.ignoreMerges {
			m.words = make(map[string]int32, len(m.vocab.ids))
			for tok, id := range m.vocab.ids {
				if raw, ok := appendBytes(nil, tok); ok {
					m.words[string(raw)] = id
				}
			}
		}
		return complete
	}
	complete = m.fillBytes(byteToken) && m.fallback
	_, known := m.vocab.id(wordSign)
	if !known || m.prefix != "" || m.suffix != "" {
		m.joins = nil
	}
	if m.joins != nil {
		m.joins.anywhere = complete
	}
	return complete
}

// fillBytes looks up every byte's token and reports whether all are there.
func (m *bpe) fillBytes(name func(b byte) string) (all bool) {
	all = true
	for b := range m.byteIDs {
		m.byteIDs[b] = m.vocab.idOr(name(byte(b)), -1)
		all = all && m.byteIDs[b] >= 0
	}
	return all
}

// byteToken is SentencePiece's name of the token for a byte: <0x0A>.
func byteToken(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// parseByteToken reads what byteToken writes, and its lower-case digits as the official library does.
func parseByteToken(tok string) (byte, bool) {
	if len(tok) != 6 || tok[:3] != "<0x" || tok[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(tok[3:5], 16, 8)
	return byte(b), err == nil
}

func (m *bpe) vocabulary() *vocab { return m.vocab }

func (m *bpe) size() int { return len(m.vocab.ids) }

// appendEncode appends the ids of a piece. It cuts it, where that changes nothing, into words that can
// be remembered.
func (m *bpe) appendEncode(dst []int32, piece string) []int32 {
	if m.ignoreMerges {
		whole := m.vocab.ids
		if m.bytewise {
			whole = m.words
		}
		if id, ok := whole[piece]; ok {
			return append(dst, id)
		}
	}
	if m.joins != nil {
		start := 0
		for i := 1; i < len(piece); i++ {
			if m.joins.parts(piece, i) {
				dst = m.cache.appendIDs(dst, piece[start:i], m.appendMerged)
				start = i
			}
		}
		piece = piece[start:]
	}
	return m.cache.appendIDs(dst, piece, m.appendMerged)
}

// appendMerged encodes one word.
func (m *bpe) appendMerged(dst []int32, word string) []int32 {
	sc := m.pool.Get().(*scratch)
	defer m.pool.Put(sc)
	if m.bytewise {
		sc.ids = m.bytes(sc.ids[:0], word)
	} else {
		sc.ids = m.characters(sc.ids[:0], word)
	}
	return append(dst, m.merge(sc, sc.ids)...)
}

// bytes gives a word's first symbols where every symbol is a byte. An unknown byte is dropped.
func (m *bpe) bytes(ids []int32, word string) []int32 {
	for i := 0; i < len(word); i++ {
		if id := m.byteIDs[word[i]]; id >= 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// characters gives a word's first symbols where every symbol is a character.
func (m *bpe) characters(ids []int32, word string) []int32 {
	// As the official library has it, an unknown token waits until the next known character: one that
	// falls back to bytes in between stands before it.
	waiting := false
	for i := 0; i < len(word); {
		_, n := utf8.DecodeRuneInString(word[i:])
		char := word[i : i+n]
		if m.prefix != "" && i > 0 {
			char = m.prefix + char
		}
		if m.suffix != "" && i+n == len(word) {
			char += m.suffix
		}
		i += n
		if id, ok := m.vocab.id(char); ok {
			if waiting {
				ids, waiting = append(ids, m.unknown), false
			}
			ids = append(ids, id)
			continue
		}
		if m.fallback && hasAll(&m.byteIDs, char) {
			for j := 0; j < len(char); j++ {
				ids = append(ids, m.byteIDs[char[j]])
			}
			continue
		}
		if m.unknown >= 0 {
			if waiting && !m.fuseUnknown {
				ids = append(ids, m.unknown)
			}
			waiting = true
		}
	}
	if waiting {
		ids = append(ids, m.unknown)
	}
	return ids
}

// hasAll reports whether every byte of s has an id.
func hasAll(ids *[256]int32, s string) bool {
	for i := 0; i < len(s); i++ {
		if ids[s[i]] < 0 {
			return false
		}
	}
	return true
}
