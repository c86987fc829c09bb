package generate

import (
	"strings"

	"github.com/shannon-control/scu/trainer/tokenizer"
)

// window is how many tokens before a new one are decoded with it: a token's text may
// depend on what comes before.
const window = 6

// text turns tokens into text as they come.
type text struct {
	tok  *tokenizer.Tokenizer
	ids  []int32 // all, the prompt's too
	from int     // where decoding begins
	read int     // up to where the text was given
}

func newText(tok *tokenizer.Tokenizer, prompt []int32) *text {
	return &text{tok: tok, ids: append([]int32(nil), prompt...), from: max(0, len(prompt)-window), read: len(prompt)}
}

// add returns what a token adds: nothing while a character's bytes are not all there.
func (t *text) add(id int32) string {
	t.ids = append(t.ids, id)
	return t.next(false)
}

// rest returns what was held back.
func (t *text) rest() string { return t.next(true) }

func (t *text) next(last bool) string {
	before, now := t.tok.Decode(t.ids[t.from:t.read], true), t.tok.Decode(t.ids[t.from:], true)
	if !last && strings.HasSuffix(now, "\uFFFD") {
		return ""
	}
	added, ok := strings.CutPrefix(now, before)
	if !ok {
		added = t.tok.Decode(t.ids[t.read:], true)
	}
	t.from, t.read = max(t.from, len(t.ids)-window), len(t.ids)
	return added
}

// stops ends a text before the first of some strings.
type stops struct {
	list []string
	held string // may be the beginning of one
}

// add returns what of the text so far is settled, and whether a stop ended it.
func (s *stops) add(more string) (settled string, stopped bool) {
	s.held += more
	end := -1
	for _, stop := range s.list {
		if i := strings.Index(s.held, stop); i >= 0 && (end < 0 || i < end) {
			end = i
		}
	}
	if end >= 0 {
		settled, s.held = s.held[:end], ""
		return settled, true
	}
	keep := 0
	for _, stop := range s.list {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
			}
		}
	}
	settled, s.held = s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
	return settled, false
}
