package data

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// assistantSpans finds the assistant's turns in full, the rendering of messages,
// for a template that doesn't mark them. A turn begins behind what the template
// writes for the assistant to go on from, and holds what the template then writes
// for it, its end mark included. Of a turn that is written shorter once others
// follow it (reasoning is left out of the history) it is what is left.
func (w *writer) assistantSpans(full string, c *conversation) ([]span, error) {
	eos, _ := w.t.special["eos_token"].(string)
	var spans []span
	for i, m := range c.turns {
		if !m.assistant {
			continue
		}
		start, known := 0, i == 0
		for _, prompt := range []bool{true, false} {
			if known {
				break // what the template writes for the assistant includes what stands before it
			}
			before, _, err := w.render(c.messages[:i], prompt)
			if err != nil {
				return nil, err
			}
			start, known = max(start, commonPrefix(full, before)), strings.HasPrefix(full, before)
		}
		turn := full
		if i+1 < len(c.messages) {
			var err error
			if turn, _, err = w.render(c.messages[:i+1], false); err != nil {
				return nil, err
			}
		}
		n := 0
		if known && len(turn) > start && turn[:start] == full[:start] {
			turn, rest := turn[start:], full[start:]
			// Some templates (Phi-3's) end every conversation with eos_token.
			n = max(overlap(turn, rest), overlap(strings.TrimSuffix(turn, eos), rest))
		}
		if n == 0 {
			return nil, errors.New("the model's chat template doesn't write the turns one after the other, so the assistant's can't be told apart")
		}
		spans = append(spans, span{start, start + n})
	}
	return spans, nil
}

// commonPrefix is the length of the longest common prefix, in whole characters.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n < len(a) && n > 0 && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}

// overlap is the length of the longest suffix of a that is a prefix of b (by the
// prefix function of Knuth, Morris and Pratt, in linear time).
func overlap(a, b string) int {
	b = b[:min(len(a), len(b))]
	if strings.HasSuffix(a, b) {
		return len(b)
	}
	fail := make([]int, len(b)+1) // fail[i]: longest proper prefix of b[:i] that ends it
	for i, k := 1, 0; i < len(b); i++ {
		for k > 0 && b[k] != b[i] {
			k = fail[k]
		}
		if b[k] == b[i] {
			k++
		}
		fail[i+1] = k
	}
	k := 0
	for i := range len(a) {
		for k > 0 && (k == len(b) || b[k] != a[i]) {
			k = fail[k]
		}
		if b[k] == a[i] {
			k++
		}
	}
	return k
}
