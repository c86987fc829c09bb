package data

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
)

// encode encodes a document's text as one where that leaves its borders between
// tokens: where a prompt ends and what is learned begins. A border inside a token
// has the text encoded apart there, so that a prompt gives the tokens that it has
// alone, as it is given when the model is used. It is left undone when ctx ends.
func (d *document) encode(ctx context.Context, tok Tokenizer) {
	e := encoding{tok: tok, text: d.text, ids: tok.AppendEncode(make([]int32, 0, len(d.text)/3), d.text)}
	if d.counts == nil {
		e.begin(d.border)
		d.ids, d.apart = e.ids, e.apart
		d.spans = []span{{0, len(d.ids)}}
		return
	}
	done := 0
	for _, s := range d.counts {
		if ctx.Err() != nil {
			return
		}
		from := max(done, e.begin(s.from)) // a template may nest its marks
		done = max(from, e.until(s.to))
		d.spans = append(d.spans, span{from, done})
	}
	d.ids, d.apart = e.ids, e.apart
}

// encoding is a text and its tokens. From byte textAt and token idAt on they are
// encoded by themselves.
type encoding struct {
	tok          Tokenizer
	text         string
	ids          []int32
	textAt, idAt int
	apart        bool // some border was inside a token
}

// begin returns how many tokens lie before byte b, where a border is, and encodes
// apart there if a token goes across.
func (e *encoding) begin(b int) int {
	switch {
	case b <= e.textAt:
		return e.idAt
	case b >= len(e.text):
		return len(e.ids)
	}
	before := e.part(e.text[e.textAt:b])
	if at := e.idAt + len(before); len(e.ids) >= at && slices.Equal(e.ids[e.idAt:at], before) {
		return at
	}
	e.ids = append(e.ids[:e.idAt], before...)
	e.textAt, e.idAt, e.apart = b, len(e.ids), true
	e.ids = append(e.ids, e.part(e.text[b:])...)
	return e.idAt
}

// until returns how many tokens begin before byte b.
func (e *encoding) until(b int) int {
	if b <= e.textAt {
		return e.idAt
	}
	return e.idAt + startsBefore(e.tok, e.ids[e.idAt:], e.text[e.textAt:], b-e.textAt)
}

// part encodes text that stands at textAt.
func (e *encoding) part(text string) []int32 {
	if e.textAt == 0 {
		return e.tok.AppendEncode(nil, text)
	}
	return continued(e.tok, text)
}

// continued encodes text as what follows another text: a tokenizer may put a mark
// of its own before a text's beginning, which doesn't belong here. Some character
// before it takes the mark.
func continued(tok Tokenizer, text string) []int32 {
	for _, before := range []string{"\n", ".", "x"} {
		mark := tok.AppendEncode(nil, before)
		all := tok.AppendEncode(nil, before+text)
		if n := len(mark); n > 0 && len(all) > n && slices.Equal(all[:n], mark) {
			return all[n:]
		}
	}
	return tok.AppendEncode(nil, text)
}

// write writes an encoded document.
func (d *document) write(w *tokenWriter, o Options, r *Report) error {
	if len(d.ids) == 0 && d.begin && d.end {
		r.refuse(Empty, d.line, "the text gives no token")
		return nil
	}
	if d.begin {
		d.warnBegin(o, r)
		if !d.chat {
			if err := w.add(o.BOS, d.counts == nil); err != nil {
				return err
			}
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

// warnBegin tells of a document's beginning what its author can hardly mean.
func (d *document) warnBegin(o Options, r *Report) {
	for _, t := range d.told {
		r.suspect(t.kind, d.line, t.why)
	}
	if d.apart {
		what := "the prompt ends inside a token of the whole text, so prompt and completion are encoded apart"
		if d.chat {
			what = "what the chat template writes before an assistant's turn ends inside a token of the whole text, so they are encoded apart"
		} else if strings.HasSuffix(d.text[:d.border], " ") {
			what += "; begin the completion with the space instead to train on the usual tokens"
		}
		r.suspect(EncodedApart, d.line, what)
	}
	if n := len(o.BOS); n > 0 {
		begin := o.BOS[n-1]
		if d.chat && len(d.ids) > 1 && d.ids[0] == begin && d.ids[1] == begin {
			r.suspect(SecondBegin, d.line, "the chat template writes two begin tokens in a row")
		} else if !d.chat && len(d.ids) > 0 && d.ids[0] == begin {
			r.suspect(SecondBegin, d.line, "the text begins with the begin token, and the tokenizer puts one before it: two in a row; leave it out")
		}
	}
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
