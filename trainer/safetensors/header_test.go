package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// raw builds a file from a header's text and its data, with the true header length.
func raw(header string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, data)...)
}

// rawLength is raw with a header length that lies.
func rawLength(n uint64, header string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), header...)
}

// one is the header of one tensor "a" with the given dtype, shape and offsets.
func one(dtype, shape, offsets string) string {
	return fmt.Sprintf(`{"a":{"dtype":%s,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
}

var valid = map[string][]byte{
	"no tensors":          raw(`{}`, 0),
	"padded":              raw(`{}      `, 0),
	"scalar":              raw(one(`"F32"`, `[]`, `[0,4]`), 4),
	"empty dimension":     raw(one(`"F32"`, `[0,7]`, `[0,0]`), 0),
	"metadata":            raw(`{"__metadata__":{"format":"pt"},"a":{"shape":[2],"data_offsets":[0,4],"dtype":"BF16"}}`, 4),
	"file order not ours": raw(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 3),
	"empty at a boundary": raw(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 2),
}

var invalid = map[string]struct {
	file []byte
	want string // in the message
}{
	"empty file":               {nil, "truncated: 0 bytes"},
	"seven bytes":              {make([]byte, 7), "truncated: 7 bytes"},
	"length beyond the file":   {rawLength(100, `{}`), "truncated: the header takes 100 bytes but only 2 follow"},
	"length one too many":      {rawLength(3, `{}`), "truncated: the header takes 3 bytes but only 2 follow"},
	"git-lfs pointer":          {[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "a git-lfs pointer, not the file itself: fetch it with git lfs pull"},
	"length above the limit":   {rawLength(maxHeader+1, `{}`), "above the limit"},
	"length of 2^64-1":         {rawLength(1<<64-1, `{}`), "above the limit"},
	"length of 2^63":           {rawLength(1<<63, `{}`), "above the limit"},
	"length zero":              {rawLength(0, `{}`), "does not begin with '{'"},
	"length too short":         {rawLength(1, `{}`), "JSON"},
	"space before the header":  {raw(` {}`, 0), "does not begin with '{'"},
	"array":                    {raw(`[]`, 0), "does not begin with '{'"},
	"not JSON":                 {raw(`{"a"`, 0), `tensor "a": the JSON ends too early`},
	"trailing comma":           {raw(`{"__metadata__":{},}`, 0), "JSON"},
	"two objects":              {raw(`{}{}`, 0), "follows the JSON object"},
	"NUL padding":              {raw("{}\x00\x00", 0), "follows the JSON object"},
	"invalid UTF-8":            {raw("{\"\xff\":1}", 0), "not valid UTF-8"},
	"tensor is a number":       {raw(`{"a":1}`, 0), `tensor "a": 1 where { was expected`},
	"tensor is null":           {raw(`{"a":null}`, 0), `tensor "a"`},
	"tensor twice":             {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `"a" appears twice`},
	"tensor twice by escape":   {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `"a" appears twice`},
	"key twice":                {raw(`{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `tensor "a": "dtype" appears twice`},
	"unknown key":              {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":0}}`, 1), `tensor "a": unknown key "x"`},
	"key in capitals":          {raw(`{"a":{"DType":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `unknown key "DType"`},
	"no dtype":                 {raw(`{"a":{"shape":[1],"data_offsets":[0,1]}}`, 1), `tensor "a": "dtype" is missing`},
	"no shape":                 {raw(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1), `"shape" is missing`},
	"no offsets":               {raw(`{"a":{"dtype":"U8","shape":[1]}}`, 1), `"data_offsets" is missing`},
	"metadata is a list":       {raw(`{"__metadata__":[]}`, 0), "where { was expected"},
	"metadata value a number":  {raw(`{"__metadata__":{"k":1}}`, 0), `__metadata__: "k": 1 where a string was expected`},
	"metadata key twice":       {raw(`{"__metadata__":{"k":"1","k":"2"}}`, 0), `"k" appears twice`},
	"metadata twice":           {raw(`{"__metadata__":{},"__metadata__":{}}`, 0), `appears twice`},
	"unknown dtype":            {raw(one(`"F31"`, `[1]`, `[0,4]`), 4), `tensor "a": unknown dtype "F31"`},
	"dtype in small letters":   {raw(one(`"f32"`, `[1]`, `[0,4]`), 4), `unknown dtype "f32"`},
	"sub-byte dtype":           {raw(one(`"F4"`, `[2]`, `[0,1]`), 1), `unknown dtype "F4"`},
	"dtype a number":           {raw(one(`32`, `[1]`, `[0,4]`), 4), `where a string was expected`},
	"shape a number":           {raw(one(`"F32"`, `1`, `[0,4]`), 4), `shape: 1 where [ was expected`},
	"dimension a fraction":     {raw(one(`"F32"`, `[1.0]`, `[0,4]`), 4), `1.0 is not a whole number`},
	"dimension a string":       {raw(one(`"F32"`, `["1"]`, `[0,4]`), 4), `1 where a number was expected`},
	"dimension a list":         {raw(one(`"F32"`, `[[1]]`, `[0,4]`), 4), `where a number was expected`},
	"negative dimension":       {raw(one(`"F32"`, `[-1]`, `[0,4]`), 4), `negative dimension`},
	"two negative dimensions":  {raw(one(`"F32"`, `[-1,-1]`, `[0,4]`), 4), `negative dimension`},
	"dimension beyond 64 bits": {raw(one(`"F32"`, `[18446744073709551617]`, `[0,4]`), 4), `is not a whole number of 64 bits`},
	"product overflow":         {raw(one(`"F32"`, `[4294967296,4294967296]`, `[0,0]`), 0), `overflows`},
	"product overflow, bytes":  {raw(one(`"F32"`, `[4611686018427387905]`, `[0,4]`), 4), `overflows`},
	"overflow times zero":      {raw(one(`"F32"`, `[4294967296,4294967296,0]`, `[0,0]`), 0), `overflows`},
	"too many dimensions":      {raw(one(`"U8"`, `[`+strings.Repeat("1,", maxRank)+`1]`, `[0,1]`), 1), `more than 32 numbers`},
	"one offset":               {raw(one(`"F32"`, `[1]`, `[4]`), 4), `1 numbers instead of 2`},
	"three offsets":            {raw(one(`"F32"`, `[1]`, `[0,4,4]`), 4), `more than 2 numbers`},
	"negative offset":          {raw(one(`"F32"`, `[1]`, `[-4,0]`), 4), `are not a range`},
	"offsets reversed":         {raw(one(`"F32"`, `[1]`, `[4,0]`), 4), `are not a range`},
	"offsets past the end":     {raw(one(`"F32"`, `[1]`, `[0,4]`), 3), `past the end of the data (3 bytes)`},
	"huge offset":              {raw(one(`"F32"`, `[1]`, `[0,9223372036854775807]`), 4), `past the end`},
	"shape needs less":         {raw(one(`"F32"`, `[1]`, `[0,8]`), 8), `F32 [1] takes 4 bytes but data_offsets [0,8] hold 8`},
	"shape needs more":         {raw(one(`"F32"`, `[3]`, `[0,8]`), 8), `takes 12 bytes`},
	"gap at the start":         {raw(one(`"U8"`, `[1]`, `[1,2]`), 2), `leave a gap after the start of the data`},
	"gap between":              {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), `tensor "b": data_offsets [2,3] leave a gap after "a"`},
	"overlap":                  {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), `tensor "b": data_offsets [1,3] overlap with "a"`},
	"same bytes twice":         {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), `overlap`},
	"empty inside another":     {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`, 2), `overlap`},
	"bytes after the last":     {raw(one(`"U8"`, `[1]`, `[0,1]`), 2), `2 bytes of data but the tensors cover 1`},
	"data and no tensors":      {raw(`{}`, 1), `1 bytes of data but the tensors cover 0`},
}

func TestReadHeaderAccepts(t *testing.T) {
	for name, file := range valid {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadHeader(bytes.NewReader(file), int64(len(file))); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestReadHeaderRefuses(t *testing.T) {
	for name, c := range invalid {
		t.Run(name, func(t *testing.T) {
			_, err := ReadHeader(bytes.NewReader(c.file), int64(len(c.file)))
			var fe *FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("got %v, want a FormatError", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestOpenNamesFileAndTensor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.safetensors")
	if err := os.WriteFile(path, invalid["negative dimension"].file, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	var fe *FormatError
	if !errors.As(err, &fe) || fe.File != path || fe.Tensor != "a" {
		t.Fatalf("got %#v", err)
	}
}

// A size that the reader does not keep is a truncated file, not a panic.
func TestReadHeaderOfShrunkFile(t *testing.T) {
	file := valid["scalar"]
	for _, have := range []int{0, 7, 8, 20} {
		_, err := ReadHeader(bytes.NewReader(file[:have]), int64(len(file)))
		if err == nil || !strings.Contains(err.Error(), "truncated: ends at byte") {
			t.Fatalf("%d bytes: %v", have, err)
		}
	}
}

func TestHeaderIsInOrderOfBytes(t *testing.T) {
	file := valid["file order not ours"]
	h, err := ReadHeader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(h.Tensors); got != "[{a U8 [1] 0 1} {b U8 [2] 1 3}]" {
		t.Fatal(got)
	}
	if h.DataOffset != int64(len(file)-3) {
		t.Fatalf("%+v", h)
	}
}

// FuzzReadHeader: whatever is accepted lies inside the file, can be written again, and reads back
// as the same tensors.
func FuzzReadHeader(f *testing.F) {
	for _, file := range valid {
		f.Add(file)
	}
	for _, c := range invalid {
		f.Add(c.file)
	}
	official, err := os.ReadFile("testdata/official.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(official)
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := ReadHeader(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		data := file[h.DataOffset:]
		var tensors []Tensor
		for _, i := range h.Tensors {
			tensors = append(tensors, Tensor{i.Name, i.DType, i.Shape, data[i.Begin:i.End]})
		}
		var first, second bytes.Buffer
		if err := Write(&first, h.Metadata, tensors); err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		h, err = ReadHeader(bytes.NewReader(first.Bytes()), int64(first.Len()))
		if err != nil {
			t.Fatalf("written but not read: %v", err)
		}
		data, tensors = first.Bytes()[h.DataOffset:], nil
		for _, i := range h.Tensors {
			tensors = append(tensors, Tensor{i.Name, i.DType, i.Shape, data[i.Begin:i.End]})
		}
		if err := Write(&second, h.Metadata, tensors); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("the second writing differs: %v", err)
		}
	})
}
