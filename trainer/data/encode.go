package data

import (
	"context"
	"fmt"
	"strings"
)

// encoder turns documents into tokens.
type encoder struct {
	tok     Tokenizer
	options Options
	pack    *packer
	report  *Report
	ids     []int32
}

// add encodes a document and packs it. Its text is encoded as one, so that a
// prompt and its completion give the tokens of their concatenation.
func (e *encoder) add(ctx context.Context, d document) error {
	e.ids = e.tok.AppendEncode(e.ids[:0], d.text)
	ids := e.ids
	if len(ids) == 0 && d.begin && d.end {
		e.report.refuse(Empty, d.line, "the text gives no token")
		return nil
	}
	if n := len(ids) + 1; d.row && n > e.options.BlockSize {
		e.report.suspect(LongRow, d.line, fmt.Sprintf("has %d tokens with the end-of-text, more than a block of %d; it is spread over several", n, e.options.BlockSize))
	}
	if d.begin && !d.chat {
		if err := e.pack.addAll(e.options.BOS, d.counts == nil); err != nil {
			return err
		}
	}
	spans := d.counts
	if spans == nil {
		spans = []span{{0, len(d.text)}}
	}
	done := 0
	for _, sp := range spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		from := max(done, startsBefore(e.tok, ids, d.text, sp.from)) // a template may nest its marks
		to := max(from, startsBefore(e.tok, ids, d.text, sp.to))
		if err := e.pack.addAll(ids[done:from], false); err != nil {
			return err
		}
		if err := e.pack.addAll(ids[from:to], true); err != nil {
			return err
		}
		done = to
	}
	if err := e.pack.addAll(ids[done:], false); err != nil {
		return err
	}
	if d.end && (len(ids) == 0 || ids[len(ids)-1] != e.options.EOS) {
		return e.pack.add(e.options.EOS, spans[len(spans)-1].to == len(d.text))
	}
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
