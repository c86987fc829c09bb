package tokenizer

import (
	"fmt"
	"strings"
)

// vocab is a model's vocabulary, both ways.
type vocab struct {
	ids    map[string]int32
	tokens []string // by id; where no token has the id, ids does not lead there
}

// parseVocab reads {"token": id, ...}.
func parseVocab(path, text string) (*vocab, error) {
	c := cursor{s: strings.Clone(text)} // the tokens are parts of it; the rest of the file can go
	if c.peek() != '{' {
		return nil, fmt.Errorf("%s: want an object of token: id, got %.40s", path, text)
	}
	ids, top := make(map[string]int32, min(strings.Count(text, ":"), maxID/8)), int32(-1)
	for c.next() {
		tok := c.key()
		id, err := parseID(c.value())
		if err != nil {
			return nil, fmt.Errorf("%s: token %.40q: %w", path, tok, err)
		}
		ids[tok] = id
		top = max(top, id)
	}
	v := &vocab{ids: ids, tokens: make([]string, top+1)}
	for tok, id := range ids {
		if old := v.tokens[id]; old != "" && old < tok {
			continue // two tokens of one id: the first in byte order, so that loading is repeatable
		}
		v.tokens[id] = tok
	}
	return v, nil
}

func (v *vocab) id(tok string) (int32, bool) {
	id, ok := v.ids[tok]
	return id, ok
}

func (v *vocab) idOr(tok string, other int32) int32 {
	if id, ok := v.ids[tok]; ok {
		return id
	}
	return other
}

func (v *vocab) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(v.tokens) {
		return "", false
	}
	tok := v.tokens[id]
	if tok == "" {
		_, ok := v.ids[tok]
		return "", ok && v.ids[tok] == id
	}
	return tok, true
}
