package data

import (
	"context"
	"fmt"
	"strings"

	"github.com/shannon-control/scu"
)

// encode encodes a document's text as one, so that a prompt and its completion give
// the tokens of their concatenation. It is left undone when ctx ends.
func (d *document) encode(ctx context.Context, tok Tokenizer) {
	d.ids = tok.AppendEncode(make([]int32, 0, len(d.text)/3), d.text)
	if d.counts == nil {
		d.spans = []span{{0, len(d.ids)}}
		return
	}
	done := 0
	for _, s := range d.counts {
		if ctx.Err() != nil {
			return
		}
		from := max(done, startsBefore(tok, d.ids, d.text, s.from)) // a template may nest its marks
		done = max(from, startsBefore(tok, d.ids, d.text, s.to))
		d.spans = append(d.spans, span{from, done})
	}
}

// write writes an encoded document.
func (d *document) write(w *tokenWriter, o Options, r *Report) error {
	if len(d.ids) == 0 && d.begin && d.end {
		r.refuse(Empty, d.line, "the text gives no token")
		return nil
	}
	if d.begin && !d.chat {
		if err := w.add(o.BOS, d.counts == nil); err != nil {
			return err
		}
	}
	done := 0
	for _, s := range d.spans {
		if err := w.add(d.ids[done:s.from], false); err != nil {
			return err
		}
		if err := w.add(d.ids[s.from:s.to], true); err != nil {
			return err
		}
		done = s.to
	}
	if err := w.add(d.ids[done:], false); err != nil {
		return err
	}
	if !d.end {
		return nil
	}
	if !d.chat && (len(d.ids) == 0 || d.ids[len(d.ids)-1] != o.EOS) {
		if err := w.add([]int32{o.EOS}, true); err != nil {
			return err
		}
	}
	if n := int(w.cur.n); d.row && n > o.BlockSize {
		what := "it is cut into %d parts that don't see each other; raise block_size to train on it whole"
		if o.Packing == scu.PackJoined {
			what = "it is spread over %d or more"
		}
		r.suspect(LongRow, d.line, fmt.Sprintf("has %d tokens, more than a block of %d; "+what, n, o.BlockSize, (n+o.BlockSize-1)/o.BlockSize))
	}
	w.end()
	return nil
}

// startsBefore returns how many of ids, the tokens of text, begin before byte b:
// a token across b counts. The tokenizer gives no offsets, so the tokens of
// text[:b] are compared: as far as they agree they cover the same bytes, and what
// follows is measured by the text that it decodes to.
func startsBefore(tok Tokenizer, ids []int32, text string, b int) int {
	if b == 0 {
		return 0
	}
	if b == len(text) {
		return len(ids)
	}
	prefix := tok.AppendEncode(nil, text[:b])
	same := 0
	for same < len(prefix) && same < len(ids) && prefix[same] == ids[same] {
		same++
	}
	if same == len(prefix) {
		return same
	}
	// A few tokens of context keep a decoder from treating the middle as a start.
	from := max(0, same-4)
	want := len(tok.Decode(prefix[from:], false))
	for n := same; n < len(ids); n++ {
		got := tok.Decode(ids[from:n], false)
		if len(got) >= want && !strings.HasSuffix(got, "\uFFFD") { // U+FFFD: amid a character
			return n
		}
	}
	return len(ids)
}
