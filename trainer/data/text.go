package data

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// textPiece is where a long plain text is cut for encoding, so that memory stays
// bounded: before the next line that starts with a character other than white
// space, and at twice the size before any line. Pre-tokenisers that never join a
// line's end with what follows (GPT-2's, Llama 3's and their kin) give the tokens
// of the whole text; those that mark the start of a text mark each piece's.
const textPiece = 8 << 20

// readText gives the documents of a plain text: the whole file as it is, or its
// paragraphs, what lines of white space part, without their last line end.
func readText(lines *lineReader, paragraphs bool, pieceSize int, r *Report, emit func(document) error) error {
	r.Format = formatText
	if !lines.checkStart(r) {
		return nil
	}
	var (
		text  strings.Builder
		start int64 // line of the document's beginning
		begin = true
		found bool
	)
	flush := func(end bool) error {
		s := text.String()
		text.Reset()
		if paragraphs && end {
			s = strings.TrimRight(s, "\r\n")
		}
		if s == "" {
			return nil
		}
		d := document{line: start, text: s, begin: begin, end: end}
		if begin {
			r.Documents++
		}
		begin = end
		return emit(d)
	}
	for {
		line, err := lines.next()
		if err == io.EOF {
			break
		}
		if err == errTooLong {
			r.refuse(TooLong, lines.number, "the line has more than 16 MiB; break it into lines")
			continue
		}
		if err != nil {
			return err
		}
		if kind, why := checkBytes(line); kind != "" {
			r.refuse(kind, lines.number, why)
			if kind == Binary {
				return nil
			}
			continue
		}
		if len(bytes.TrimSpace(line)) == 0 {
			if paragraphs {
				if err := flush(true); err != nil {
					return err
				}
				continue
			}
		} else {
			found = true
		}
		first, _ := utf8.DecodeRune(line)
		if text.Len() >= pieceSize && !unicode.IsSpace(first) || text.Len() >= 2*pieceSize {
			if err := flush(false); err != nil {
				return err
			}
		}
		if text.Len() == 0 && begin {
			start = lines.number
		}
		suspectText(r, lines.number, string(line))
		text.Write(line)
	}
	if !found && len(r.Refused) == 0 {
		r.refuse(Empty, 1, "the file has no text")
		return nil
	}
	return flush(true)
}
