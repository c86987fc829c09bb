package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxLine bounds a line, so that a file without line ends can't fill the memory.
const maxLine = 16 << 20

var (
	utf8BOM    = []byte{0xEF, 0xBB, 0xBF}
	errTooLong = errors.New("the line is too long")
)

// lineReader gives a file's lines one by one. It takes a byte order mark off and
// looks ahead at the first line that isn't blank.
type lineReader struct {
	r       *bufio.Reader
	buf     []byte
	number  int64 // of the line given last, from 1
	bom     bool  // the file began with a UTF-8 byte order mark
	utf16   bool
	alien   string // what else than text the file is; see isForeign
	parquet bool

	ahead []pending // blank lines and the first that isn't, read by newLineReader
}

// pending is a line that was read and not given yet.
type pending struct {
	line []byte
	err  error
}

// maxBlankAhead bounds the blank lines that newLineReader looks past, in bytes.
const maxBlankAhead = 64 << 10

func newLineReader(r io.Reader) (*lineReader, error) {
	l := &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
	start, err := l.r.Peek(startBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	l.utf16, l.alien, l.parquet = isUTF16(start), isForeign(start), isParquet(start)
	if bytes.HasPrefix(start, utf8BOM) {
		l.bom = true
		l.r.Discard(len(utf8BOM))
	}
	for blank := 0; blank < maxBlankAhead; {
		line, err := l.read()
		l.ahead = append(l.ahead, pending{bytes.Clone(line), err})
		if err != nil || len(bytes.TrimSpace(line)) > 0 {
			break
		}
		blank += len(line)
	}
	return l, nil
}

// next gives the next line with the "\n" that ends it, valid until the next call;
// the last line may have none. io.EOF ends the file. After errTooLong the rest of
// that line was skipped and the next call goes on.
func (l *lineReader) next() ([]byte, error) {
	var p pending
	if len(l.ahead) > 0 {
		p, l.ahead = l.ahead[0], l.ahead[1:]
	} else {
		p.line, p.err = l.read()
	}
	if p.err == nil || p.err == errTooLong {
		l.number++
	}
	return p.line, p.err
}

func (l *lineReader) read() ([]byte, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if long = long || len(l.buf)+len(part) > maxLine; !long {
			l.buf = append(l.buf, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return nil, err
		case long:
			return nil, errTooLong
		case err == io.EOF && len(l.buf) == 0:
			return nil, io.EOF
		}
		return l.buf, nil
	}
}

// first is the first line that isn't blank, without white space around it, and its
// number; if all were blank, the last that was looked at. Call it before next.
func (l *lineReader) first() (int64, []byte) {
	return int64(len(l.ahead)), bytes.TrimSpace(l.ahead[len(l.ahead)-1].line)
}

// jsonl decides the format: by the name where it says JSONL; else it is JSONL
// where the first line that isn't blank is a JSON object, or begins like one and
// the name doesn't say text. An array is read as JSONL too, which refuses it.
func (l *lineReader) jsonl(name string) bool {
	byName := formatByName(name)
	if byName == formatJSONL {
		return true
	}
	_, first := l.first()
	if bytes.HasPrefix(first, []byte("[")) {
		return byName != formatText && (len(first) == 1 || json.Valid(first))
	}
	rest, isBrace := bytes.CutPrefix(first, []byte("{"))
	if !isBrace {
		return false
	}
	return json.Valid(first) || byName != formatText && bytes.HasPrefix(bytes.TrimSpace(rest), []byte(`"`))
}

// checkBytes says what makes line unfit as text; "" if nothing does.
func checkBytes(line []byte) (Kind, string) {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		return Binary, fmt.Sprintf("NUL at byte %d: not a text file", i+1)
	}
	if utf8.Valid(line) {
		return "", ""
	}
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRune(line[i:])
		if r == utf8.RuneError && n == 1 {
			return Encoding, fmt.Sprintf("byte %d (0x%02x) is not UTF-8; save the file as UTF-8", i+1, line[i])
		}
		i += n
	}
	return "", ""
}

// checkStart refuses and warns by the file's first bytes. It reports whether there is
// a point in reading on.
func (l *lineReader) checkStart(r *Report) bool {
	switch {
	case l.alien != "":
		r.refuse(Binary, 1, "the file is "+l.alien)
		return false
	case l.utf16:
		r.refuse(Encoding, 1, "the file is UTF-16 or UTF-32; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
		return false
	}
	if l.bom {
		r.suspect(Encoding, 1, "a byte order mark was taken off the start")
	}
	return true
}
