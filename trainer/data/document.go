package data

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// document is a text, or a piece of one that is too long to hold.
type document struct {
	line       int64     // where it begins
	text       string    // valid UTF-8, not empty
	counts     []span    // what counts in the loss; nil: everything
	border     int       // the byte where a completion begins; 0: none
	form       string    // of a row
	chat       bool      // a template wrote it, with what belongs before it
	begin, end bool      // whether the piece begins and ends the document
	row        bool      // of rows, which see only themselves
	told       []refusal // what is odd about it, though it is taken

	ids   []int32 // text, encoded
	spans []span  // what of ids counts
	apart bool    // it isn't encoded as one, see encode
}

// span is a range of bytes.
type span struct{ from, to int }

// suspectText warns of what in a text points at damage or at a wrong conversion.
func suspectText(r *Report, line int64, text string) {
	for _, c := range text {
		if c == utf8.RuneError {
			r.suspect(Replacement, line, "has U+FFFD: characters were lost before, or an escape is half a pair")
			break
		}
	}
	if i := strings.IndexFunc(text, oddControl); i >= 0 {
		c, _ := utf8.DecodeRuneInString(text[i:])
		r.suspect(ControlCharacters, line, fmt.Sprintf("has the control character U+%04X", c))
	}
}

// oddControl is true for control characters that don't lay text out.
func oddControl(c rune) bool {
	return unicode.IsControl(c) && c != '\t' && c != '\n' && c != '\r' && c != '\f'
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }
