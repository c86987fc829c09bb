package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	maxHeader = 100_000_000 // bytes; the official library's bound
	maxRank   = 32          // dimensions of one tensor; keeps a lying header from growing in memory
	metaKey   = "__metadata__"
)

// Info is what the header says of one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar
	Begin int64 // first byte, counted from Header.DataOffset
	End   int64 // past the last byte
}

// Header is a file's header, fully checked against the file's size.
type Header struct {
	Metadata   map[string]string // nil when there is none
	Tensors    []Info            // in the order of their bytes; they cover the data without gaps
	DataOffset int64             // where the data begins in the file
}

// lfsPointer begins the small text that git-lfs leaves in place of a file that wasn't
// fetched. As a header's length it would be 8 exabytes.
const lfsPointer = "version https://git-lfs.github.com/spec/"

// ReadHeader reads and checks the header of a file of the given size in bytes, and none of the
// tensors' data: shapes and parameter counts of a model cost one or two small reads, also from a
// server that answers ranges. Errors are *FormatError, or those of r.
func ReadHeader(r io.ReaderAt, size int64) (*Header, error) {
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return nil, badFile("truncated: %d bytes, the header's length alone takes 8", size)
	}
	if err := readFull(r, prefix[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if string(prefix[:]) == lfsPointer[:len(prefix)] {
		return nil, badFile("a git-lfs pointer, not the file itself: fetch it with git lfs pull")
	}
	if n > maxHeader {
		return nil, badFile("header length %d is above the limit of %d: not a safetensors file, or a damaged one", n, maxHeader)
	}
	if int64(n) > size-8 {
		return nil, badFile("truncated: the header takes %d bytes but only %d follow its length", n, size-8)
	}
	text := make([]byte, n)
	if err := readFull(r, text, 8); err != nil {
		return nil, err
	}
	h, err := parseHeader(text)
	if err != nil {
		return nil, err
	}
	h.DataOffset = 8 + int64(n)
	return h, h.checkLayout(size - h.DataOffset)
}

// readFull fills p from offset off; a reader that ends early is a truncated file.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return badFile("truncated: ends at byte %d", off+int64(n))
	default:
		return err
	}
}

// checkLayout sorts the tensors by offset and checks that they cover dataSize bytes exactly,
// each by the bytes that its shape and type need.
func (h *Header) checkLayout(dataSize int64) error {
	slices.SortStableFunc(h.Tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End))
	})
	at, before := int64(0), "the start of the data"
	for _, t := range h.Tensors {
		need, err := byteSize(t.DType, t.Shape)
		if err != nil {
			return badTensor(t.Name, "%v", err)
		}
		switch {
		case t.Begin < 0 || t.End < t.Begin:
			return badTensor(t.Name, "data_offsets [%d,%d] are not a range", t.Begin, t.End)
		case t.End > dataSize:
			return badTensor(t.Name, "data_offsets [%d,%d] go past the end of the data (%d bytes): truncated or damaged", t.Begin, t.End, dataSize)
		case t.Begin < at:
			return badTensor(t.Name, "data_offsets [%d,%d] overlap with %s, which ends at %d", t.Begin, t.End, before, at)
		case t.Begin > at:
			return badTensor(t.Name, "data_offsets [%d,%d] leave a gap after %s, which ends at %d", t.Begin, t.End, before, at)
		case t.End-t.Begin != need:
			return badTensor(t.Name, "%s %v takes %d bytes but data_offsets [%d,%d] hold %d", t.DType, t.Shape, need, t.Begin, t.End, t.End-t.Begin)
		}
		at, before = t.End, strconv.Quote(t.Name)
	}
	if at != dataSize {
		return badFile("%d bytes of data but the tensors cover %d", dataSize, at)
	}
	return nil
}

// byteSize is the number of bytes of a tensor, or an error for an unknown type, a negative
// dimension or a product that no memory could hold.
func byteSize(d DType, shape []int) (int64, error) {
	n := int64(d.Size())
	if n == 0 {
		return 0, fmt.Errorf("unknown dtype %q", string(d))
	}
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		if dim > 0 && n > math.MaxInt/int64(dim) {
			return 0, fmt.Errorf("shape %v overflows", shape)
		}
		n *= int64(dim)
	}
	return n, nil
}

// parseHeader reads the JSON strictly: nothing but the format's own keys, none twice.
func parseHeader(text []byte) (*Header, error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, badFile("the header does not begin with '{'")
	}
	if !utf8.Valid(text) {
		return nil, badFile("the header is not valid UTF-8")
	}
	p := headerParser{json.NewDecoder(bytes.NewReader(text))}
	p.UseNumber()
	h := &Header{}
	seen := map[string]bool{}
	err := p.object(func(key string) error {
		if seen[key] {
			return badFile("%q appears twice in the header", key)
		}
		seen[key] = true
		if key == metaKey {
			return p.metadata(h)
		}
		return p.tensor(key, h)
	})
	if err == nil {
		if _, err = p.Token(); err == io.EOF {
			return h, nil
		}
		err = errors.New("something follows the JSON object")
	}
	if fe, ok := err.(*FormatError); ok {
		return nil, fe
	}
	return nil, badFile("the header's JSON: %v", err)
}

// headerParser walks the header's few levels token by token: the decoder into Go values would
// let repeated and unknown keys pass.
type headerParser struct{ *json.Decoder }

// next reads one token; the text must not end before it.
func (p headerParser) next() (json.Token, error) {
	tok, err := p.Token()
	if err == io.EOF {
		err = errors.New("the JSON ends too early")
	}
	return tok, err
}

// object reads one object, calling value for each key to read what stands beside it.
func (p headerParser) object(value func(key string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.More() {
		key, err := p.next() // the decoder accepts only strings as keys
		if err != nil {
			return err
		}
		if err := value(key.(string)); err != nil {
			return err
		}
	}
	return p.delim('}')
}

func (p headerParser) delim(want json.Delim) error {
	tok, err := p.next()
	if err != nil {
		return err
	}
	if tok != want {
		return fmt.Errorf("%v where %v was expected, at byte %d", tok, want, p.InputOffset())
	}
	return nil
}

func (p headerParser) str() (string, error) {
	tok, err := p.next()
	if err != nil {
		return "", err
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("%v where a string was expected, at byte %d", tok, p.InputOffset())
	}
	return s, nil
}

// ints reads an array of at most limit whole numbers.
func (p headerParser) ints(limit int) ([]int64, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	list := []int64{}
	for p.More() {
		if len(list) == limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
		tok, err := p.next()
		if err != nil {
			return nil, err
		}
		num, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%v where a number was expected", tok)
		}
		v, err := strconv.ParseInt(num.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number of 64 bits", num)
		}
		list = append(list, v)
	}
	return list, p.delim(']')
}

func (p headerParser) metadata(h *Header) error {
	h.Metadata = map[string]string{}
	return p.object(func(key string) error {
		if _, twice := h.Metadata[key]; twice {
			return badFile("%s: %q appears twice", metaKey, key)
		}
		value, err := p.str()
		if err != nil {
			return badFile("%s: %q: %v", metaKey, key, err)
		}
		h.Metadata[key] = value
		return nil
	})
}

func (p headerParser) tensor(name string, h *Header) error {
	t := Info{Name: name}
	seen := map[string]bool{}
	err := p.object(func(key string) error {
		if seen[key] {
			return fmt.Errorf("%q appears twice", key)
		}
		seen[key] = true
		switch key {
		case "dtype":
			s, err := p.str()
			t.DType = DType(s)
			return err
		case "shape":
			dims, err := p.ints(maxRank)
			if err != nil {
				return fmt.Errorf("shape: %w", err)
			}
			t.Shape = make([]int, len(dims))
			for i, d := range dims {
				if t.Shape[i] = int(d); int64(t.Shape[i]) != d {
					return fmt.Errorf("shape: dimension %d is too large for this machine", d)
				}
			}
			return nil
		case "data_offsets":
			ends, err := p.ints(2)
			if err != nil {
				return fmt.Errorf("data_offsets: %w", err)
			}
			if len(ends) != 2 {
				return fmt.Errorf("data_offsets: %d numbers instead of 2", len(ends))
			}
			t.Begin, t.End = ends[0], ends[1]
			return nil
		default:
			return fmt.Errorf("unknown key %q", key)
		}
	})
	if err != nil {
		return badTensor(name, "%v", err)
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return badTensor(name, "%q is missing", key)
		}
	}
	h.Tensors = append(h.Tensors, t)
	return nil
}
