package tokenizer

import (
	"fmt"
	"unicode/utf8"
)

// wordPiece is BERT's: the longest token that begins a word, then the longest that goes on from there,
// and so on; a word that cannot be finished is unknown as a whole.
type wordPiece struct {
	vocab    *vocab
	unknown  int32
	prefix   string // of tokens that go on inside a word
	maxRunes int    // longer words are unknown
	longest  int    // bytes of the longest token
	cache    *wordCache
}

func buildWordPiece(o *object) (*wordPiece, error) {
	m := &wordPiece{
		prefix:   o.short("continuing_subword_prefix", true),
		maxRunes: o.count("max_input_chars_per_word"),
		cache:    newWordCache(),
	}
	unknown, text := o.string("unk_token"), o.raw("vocab")
	if text == "" {
		o.missing("vocab")
	}
	o.ignore("type")
	err := o.done()
	if err != nil {
		return nil, err
	}
	if m.vocab, err = parseVocab(o.path+".vocab", text); err != nil {
		return nil, err
	}
	id, ok := m.vocab.id(unknown)
	if !ok {
		return nil, fmt.Errorf("%s.unk_token: %q is not in the vocabulary", o.path, unknown)
	}
	m.unknown = id
	for tok := range m.vocab.ids {
		m.longest = max(m.longest, len(tok))
	}
	return m, nil
}

func (m *wordPiece) vocabulary() *vocab { return m.vocab }

func (m *wordPiece) size() int { return len(m.vocab.ids) }

func (m *wordPiece) appendEncode(dst []int32, piece string) []int32 {
	return m.cache.appendIDs(dst, piece, m.appendLongest)
}

func (m *wordPiece) appendLongest(dst []int32, word string) []int32 {
	if utf8.RuneCountInString(word) > m.maxRunes {
		return append(dst, m.unknown)
	}
	first, prefix := len(dst), ""
	var buf []byte
	for word != "" {
		// No token is longer than m.longest, so nothing after it needs a look.
		buf = append(append(buf[:0], prefix...), word[:min(len(word), m.longest)]...)
		end := len(buf)
		id, ok := m.vocab.ids[string(buf)]
		for !ok {
			_, n := utf8.DecodeLastRune(buf[:end])
			if end -= n; end <= len(prefix) {
				return append(dst[:first], m.unknown)
			}
			id, ok = m.vocab.ids[string(buf[:end])]
		}
		dst = append(dst, id)
		word = word[end-len(prefix):]
		prefix = m.prefix
	}
	return dst
}
