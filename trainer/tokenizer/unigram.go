package tokenizer

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// unigram is SentencePiece's language model over pieces (Kudo 2018): of all ways to cut a text into
// tokens, the one whose scores, the logarithms of probabilities, have the greatest sum.
type unigram struct {
	vocab        *vocab
	scores       []float64 // by id
	trie         *trie
	unknown      int32
	unknownScore float64
	fallback     bool // an unknown piece becomes its bytes <0xNN>
	byteIDs      [256]int32
	cache        *wordCache
	pool         sync.Pool // of *[]bestEnd
}

// unknownPenalty is how much worse than the worst token an unknown character is.
const unknownPenalty = 10

func buildUnigram(o *object) (*unigram, error) {
	m := &unigram{
		fallback: o.boolOr("byte_fallback", false),
		cache:    newWordCache(),
		pool:     sync.Pool{New: func() any { return new([]bestEnd) }},
	}
	unknown, text := o.count("unk_id"), o.raw("vocab")
	if text == "" {
		o.missing("vocab")
	}
	o.ignore("type")
	if err := o.done(); err != nil {
		return nil, err
	}
	c := cursor{s: strings.Clone(text)} // the tokens are parts of it; the rest of the file can go
	if c.peek() != '[' {
		return nil, fmt.Errorf("%s.vocab: want an array of [token, score], got %.40s", o.path, text)
	}
	m.vocab = &vocab{ids: map[string]int32{}}
	lowest, size := math.Inf(1), 0
	for c.next() {
		id := len(m.vocab.tokens)
		if id > maxID {
			return nil, fmt.Errorf("%s.vocab: more than %d tokens", o.path, maxID+1)
		}
		tok, score, err := parseScored(c.value())
		if err != nil {
			return nil, fmt.Errorf("%s.vocab[%d]: %w", o.path, id, err)
		}
		m.vocab.tokens = append(m.vocab.tokens, tok)
		m.vocab.ids[tok] = int32(id) // of equals, the last counts
		m.scores = append(m.scores, score)
		lowest = min(lowest, score)
		if size += len(tok); size > maxTrie {
			return nil, fmt.Errorf("%s.vocab: more than %d bytes of tokens", o.path, maxTrie)
		}
	}
	if unknown >= len(m.scores) {
		return nil, fmt.Errorf("%s.unk_id: %d is not in the vocabulary (%d tokens)", o.path, unknown, len(m.scores))
	}
	m.unknown, m.unknownScore = int32(unknown), lowest-unknownPenalty
	m.trie = newTrie(size)
	for tok, id := range m.vocab.ids {
		m.trie.add(tok, id)
	}
	for b := range m.byteIDs {
		m.byteIDs[b] = m.vocab.idOr(byteToken(byte(b)), -1)
	}
	return m, nil
}

// parseScored reads ["token", score].
func parseScored(text string) (tok string, score float64, err error) {
	c := cursor{s: text}
	var parts []string
	if c.peek() == '[' {
		for c.next() {
			parts = append(parts, c.value())
		}
	}
	if len(parts) == 2 && parts[0][0] == '"' {
		score, err = parseScore(parts[1])
		tok = unquote(parts[0])
	}
	if tok == "" || err != nil {
		return "", 0, fmt.Errorf("want [token, score], got %.40s", text)
	}
	return tok, score, nil
}

// parseScore reads a JSON number as the official library's parser does (serde_json without
// float_roundtrip): all digits as one integer, scaled once. That can be a last bit off the nearest
// number, and the last bit decides between cuts of equal worth.
func parseScore(text string) (float64, error) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		e, err := strconv.Atoi(text[i+1:])
		if err != nil {
			return 0, err
		}
		mantissa, exponent = text[:i], e
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	var significand uint64
	for i, c := range []byte(whole + fraction) {
		if c < '0' || c > '9' {
			return 0, strconv.ErrSyntax
		}
		next := significand*10 + uint64(c-'0')
		if significand > math.MaxUint64/10 || next < significand*10 { // what no longer fits is left out
			exponent += max(len(whole)-i, 0)
			fraction = fraction[:max(i-len(whole), 0)]
			break
		}
		significand = next
	}
	exponent -= len(fraction)
	f := float64(significand)
	for ; exponent < -308 && f != 0; exponent += 308 {
		f /= 1e308
	}
	scale, err := strconv.ParseFloat("1e"+strconv.Itoa(max(exponent, -exponent)), 64)
	switch {
	case f == 0:
	case err != nil:
		return 0, err
	case exponent < 0:
		f /= scale
	default:
		f *= scale
	}
	if negative {
		f = -f
	}
	if math.IsInf(f, 0) {
		return 0, strconv.ErrRange
	}
	return f, nil
}

func (m *unigram) vocabulary() *vocab { return m.vocab }

func (m *unigram) size() int { return len(m.vocab.tokens) }

func (m *unigram) appendEncode(dst []int32, piece string) []int32 {
	return m.cache.appendIDs(dst, piece, m.appendBest)
}

// bestEnd is the best way to cut the text before a place: its score, its last token and where that starts.
type bestEnd struct {
	score     float64
	id, start int32 // start -1: nothing ends here yet
}

// appendBest finds the best cut by dynamic programming over the bytes of s (Viterbi).
func (m *unigram) appendBest(dst []int32, s string) []int32 {
	memory := m.pool.Get().(*[]bestEnd)
	defer m.pool.Put(memory)
	best := slices.Grow((*memory)[:0], len(s)+1)[:len(s)+1]
	*memory = best
	for i := range best {
		best[i] = bestEnd{start: -1}
	}
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		known := false // whether some token is the one character at i
		node := int32(0)
		for j := i; j < len(s); j++ {
			next, id, ok := m.trie.step(node, s[j])
			if !ok {
				break
			}
			if node = next; id < 0 {
				continue
			}
			known = known || j+1 == i+n
			best[j+1].offer(best[i].score+m.scores[id], id, i)
		}
		if !known {
			best[i+n].offer(best[i].score+m.unknownScore, m.unknown, i)
		}
		i += n
	}
	// Walk back from the end. Unknown pieces in a row become one.
	first := len(dst)
	for end := len(s); end > 0; {
		start := int(best[end].start)
		if best[end].id != m.unknown {
			dst = append(dst, best[end].id)
			end = start
			continue
		}
		for start > 0 && best[start].id == m.unknown {
			start = int(best[start].start)
		}
		dst = m.appendUnknown(dst, s[start:end])
		end = start
	}
	slices.Reverse(dst[first:])
	return dst
}

func (b *bestEnd) offer(score float64, id int32, start int) {
	if b.start < 0 || score > b.score {
		*b = bestEnd{score, id, int32(start)}
	}
}

// appendUnknown appends the ids of a piece without a token, the last first.
func (m *unigram) appendUnknown(dst []int32, s string) []int32 {
	if id, ok := m.vocab.id(s); ok {
		return append(dst, id)
	}
	if !m.fallback || !hasAll(&m.byteIDs, s) {
		return append(dst, m.unknown)
	}
	for i := len(s) - 1; i >= 0; i-- {
		dst = append(dst, m.byteIDs[s[i]])
	}
	return dst
}
