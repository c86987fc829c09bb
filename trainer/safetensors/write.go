package safetensors

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Write writes the tensors and the metadata (may be nil) as one file. Nothing is written unless
// everything is valid: names unique, UTF-8 and not "__metadata__", as many bytes as type and
// shape need. Besides the header no memory is taken: each tensor's bytes go straight to w.
//
// The bytes depend only on the content. They are the official library's for the same tensors:
// ordered by element type, widest first, then by name; the header padded with spaces to a
// multiple of 8. (With two or more metadata keys the official order changes from run to run;
// ours is sorted.)
func Write(w io.Writer, metadata map[string]string, tensors []Tensor) error {
	sorted := slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(dtypes[b.DType].rank, dtypes[a.DType].rank), cmp.Compare(a.Name, b.Name))
	})
	header, err := encodeHeader(metadata, sorted)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("safetensors: write the header: %w", err)
	}
	for _, t := range sorted {
		if _, err := w.Write(t.Data); err != nil {
			return fmt.Errorf("safetensors: write tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// encodeHeader gives the length and the padded JSON.
func encodeHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	out := append(make([]byte, 8, 1024), '{')
	if len(metadata) > 0 {
		out = append(out, `"`+metaKey+`":{`...)
		for i, key := range sortedKeys(metadata) {
			if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
				return nil, badFile("metadata %q is not valid UTF-8", key)
			}
			if i > 0 {
				out = append(out, ',')
			}
			out = appendString(out, key)
			out = append(out, ':')
			out = appendString(out, metadata[key])
		}
		out = append(out, '}')
	}
	seen := map[string]bool{}
	var at int64
	for i, t := range tensors {
		if err := t.check(); err != nil {
			return nil, err
		}
		switch {
		case t.Name == metaKey:
			return nil, badTensor(t.Name, "the name is reserved")
		case !utf8.ValidString(t.Name):
			return nil, badTensor(t.Name, "the name is not valid UTF-8")
		case seen[t.Name]:
			return nil, badTensor(t.Name, "given twice")
		case len(t.Shape) > maxRank:
			return nil, badTensor(t.Name, "more than %d dimensions", maxRank)
		}
		seen[t.Name] = true
		if i > 0 || len(metadata) > 0 {
			out = append(out, ',')
		}
		out = appendString(out, t.Name)
		out = append(out, `:{"dtype":"`+string(t.DType)+`","shape":[`...)
		for j, d := range t.Shape {
			if j > 0 {
				out = append(out, ',')
			}
			out = strconv.AppendInt(out, int64(d), 10)
		}
		end := at + int64(len(t.Data))
		out = fmt.Appendf(out, `],"data_offsets":[%d,%d]}`, at, end)
		at = end
	}
	out = append(out, '}')
	for len(out)%8 != 0 {
		out = append(out, ' ')
	}
	n := len(out) - 8
	if n > maxHeader {
		return nil, badFile("the header would take %d bytes, above the limit of %d", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(out, uint64(n))
	return out, nil
}

// appendString quotes s as the official writer does: escapes for '"', '\' and the control
// characters below a space, everything else as it is. (encoding/json escapes U+2028 too.)
func appendString(out []byte, s string) []byte {
	const short = "\b\f\n\r\t\"\\"
	const letter = "bfnrt\"\\"
	out = append(out, '"')
	for i := range len(s) {
		c := s[i]
		if j := strings.IndexByte(short, c); j >= 0 {
			out = append(out, '\\', letter[j])
		} else if c < ' ' {
			out = fmt.Appendf(out, `\u%04x`, c)
		} else {
			out = append(out, c)
		}
	}
	return append(out, '"')
}
