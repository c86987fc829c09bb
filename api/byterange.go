package api

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// byteRange is a part of a body: length bytes from start.
type byteRange struct{ start, length int64 }

func (r byteRange) contentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.start, r.start+r.length-1, size)
}

// parseRange reads a Range header for a body of size bytes. What it asks for is whole if
// the header is empty or can't be met with one part: several ranges, another unit, no
// range at all. It is outside if nothing of it is in the body.
func parseRange(header string, size int64) (r byteRange, whole, outside bool) {
	all := byteRange{0, size}
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash || !digits(first) || !digits(last) || first+last == "" {
		return all, true, false
	}
	from, tooFar := strconv.ParseInt(first, 10, 64)
	to, endless := strconv.ParseInt(last, 10, 64)
	if first == "" { // the last bytes, so many
		if endless != nil {
			to = size
		}
		r = byteRange{max(size-to, 0), min(to, size)}
		return r, false, r.length == 0
	}
	if last == "" || endless != nil {
		to = size - 1
	} else if tooFar == nil && to < from {
		return all, true, false
	}
	if tooFar != nil || from >= size {
		return r, false, true
	}
	return byteRange{from, min(to, size-1) - from + 1}, false, false
}

// digits reports whether s has nothing else.
func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// copyRange copies a range of what body gives. The last byte goes out when body was read
// to its end, so that a client that gets as many bytes as were announced has the right ones.
func copyRange(w io.Writer, body io.Reader, r byteRange) error {
	if _, err := io.CopyN(io.Discard, body, r.start); err != nil {
		return err
	}
	if _, err := io.CopyN(w, body, r.length-1); err != nil {
		return err
	}
	var last [1]byte
	if _, err := io.ReadFull(body, last[:]); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	_, err := w.Write(last[:])
	return err
}
