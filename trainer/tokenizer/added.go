package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Added tokens stand beside the model: they are cut out of the text before the pre-tokenisers and the
// model see it, some before normalisation, some (normalized) after it.

type addedToken struct {
	content    string
	singleWord bool // only where no word character touches it
	lstrip     bool // takes the white space on its left along
	rstrip     bool
	normalized bool // looked for in the normalised text
	special    bool // skipped by Decode when asked
}

type addedTokens struct {
	ids     map[string]int32
	byID    map[int32]addedToken
	text    map[int32]string // what Decode starts from: the content as normalised
	special map[string]bool
	raw     *trie // looked for in the text as given; nil: none
	normal  *trie // looked for in the normalised text; nil: none
	class   *classTable
}

func readAdded(o *object) (addedToken, error) {
	t := addedToken{
		content:    o.string("content"),
		singleWord: o.bool("single_word"),
		lstrip:     o.bool("lstrip"),
		rstrip:     o.bool("rstrip"),
		normalized: o.bool("normalized"),
		special:    o.bool("special"),
	}
	if _, err := parseID(o.raw("id")); err != nil {
		o.fail("id", "%w", err)
	}
	return t, o.done()
}

// buildAdded numbers the added tokens as the official library does: a token of the model's vocabulary
// keeps its id there, the others count on from the vocabulary's size. The file's own "id" is not asked.
func buildAdded(list []addedToken, m model, normalize normalizer) (*addedTokens, error) {
	a := &addedTokens{
		ids:     map[string]int32{},
		byID:    map[int32]addedToken{},
		text:    map[int32]string{},
		special: map[string]bool{},
		class:   classes(),
	}
	next, size := int32(m.size()), 0
	for i, t := range list {
		if t.content == "" {
			continue
		}
		id, ok := a.ids[t.content]
		if ok && a.byID[id] == t {
			continue
		}
		if !ok {
			if id, ok = m.vocabulary().id(t.content); !ok {
				id = next
				next++
			}
		}
		spelling := t.content
		if t.normalized && normalize != nil {
			if spelling = normalize(t.content); spelling != t.content {
				a.text[id] = spelling
			}
		}
		if size += len(spelling); size > maxTrie || next > maxID {
			return nil, fmt.Errorf("tokenizer.json.added_tokens[%d]: too many tokens, or too long", i)
		}
		a.ids[t.content] = id
		a.byID[id] = t
		if t.special {
			a.special[t.content] = true
		}
	}
	// Of tokens that are the same once normalised, the official library finds any; here, the first.
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(a.byID))) {
		t, tr, s := a.byID[id], &a.raw, a.byID[id].content
		if t.normalized {
			tr, s = &a.normal, a.spelling(id)
		}
		if s == "" {
			continue
		}
		if *tr == nil {
			*tr = newTrie(size)
		}
		(*tr).add(s, id)
	}
	return a, nil
}

// spelling is what stands in the text for the token.
func (a *addedTokens) spelling(id int32) string {
	if s, ok := a.text[id]; ok {
		return s
	}
	return a.byID[id].content
}

// cut walks over s and calls text for what lies between the tokens of tr, and token for each token.
func (a *addedTokens) cut(tr *trie, s string, text func(from, to int), token func(id int32)) {
	done, spaceEnd := 0, 0 // spaceEnd: how far the last rstrip looked
	for i := 0; tr != nil; {
		start, end, id := tr.find(s, i)
		if id < 0 {
			break
		}
		i = end
		t := a.byID[id]
		if t.singleWord && (a.wordBefore(s, start) || a.wordAfter(s, end)) {
			continue
		}
		if t.lstrip {
			start = max(start, done)
			start = done + len(strings.TrimRightFunc(s[done:start], unicode.IsSpace))
		}
		if t.rstrip {
			if end >= spaceEnd {
				spaceEnd = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
			}
			end = spaceEnd
		}
		if start > done {
			text(done, start)
		}
		token(id)
		done = end
	}
	if done < len(s) {
		text(done, len(s))
	}
}

func (a *addedTokens) wordBefore(s string, i int) bool {
	r, n := utf8.DecodeLastRuneInString(s[:i])
	return n > 0 && a.class.of(r)&cWord != 0
}

func (a *addedTokens) wordAfter(s string, i int) bool {
	r, n := utf8.DecodeRuneInString(s[i:])
	return n > 0 && a.class.of(r)&cWord != 0
}
