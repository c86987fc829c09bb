package safetensors

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// headerOf is the header of a file with these tensors of 2 x 3.
func headerOf(t *testing.T, names ...string) *Header {
	t.Helper()
	var tensors []Tensor
	for _, name := range names {
		tensors = append(tensors, FromFloat32(name, []int{2, 3}, make([]float32, 6)))
	}
	var b bytes.Buffer
	if err := Write(&b, nil, tensors); err != nil {
		t.Fatal(err)
	}
	h, err := ReadHeader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A model of headers alone finds what the files would have, without data.
func TestOutline(t *testing.T) {
	for name, c := range map[string]struct {
		headers map[string]*Header
		index   string
		problem string // "" where the model is good
	}{
		"one file":         {headers: map[string]*Header{SingleFile: headerOf(t, "a", "b")}},
		"shards":           {headers: map[string]*Header{"1.safetensors": headerOf(t, "a"), "2.safetensors": headerOf(t, "b")}, index: `{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}`},
		"no file":          {problem: "its header is missing"},
		"no such shard":    {headers: map[string]*Header{"1.safetensors": headerOf(t, "a")}, index: `{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}`, problem: "2.safetensors: its header is missing"},
		"not in its shard": {headers: map[string]*Header{"1.safetensors": headerOf(t, "a")}, index: `{"weight_map":{"b":"1.safetensors"}}`, problem: "not here"},
		"no index":         {headers: map[string]*Header{"1.safetensors": headerOf(t, "a")}, index: `[]`, problem: "the index"},
	} {
		var index []byte
		if c.index != "" {
			index = []byte(c.index)
		}
		m, err := Outline(c.headers, index)
		if c.problem != "" {
			var format *FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: error %v; want %q", name, err, c.problem)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		x, ok := m.Tensor("b")
		if got := m.Names(); len(got) != 2 || !ok || x.Data != nil || x.Size() != 24 || x.DType != F32 || x.Shape[1] != 3 {
			t.Errorf("%s: %v, %v, %v", name, got, x, ok)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := FromFloat32("a", []int{2}, make([]float32, 2)).Size(); n != 8 {
		t.Error("size of what has data:", n)
	}
	if n := (Tensor{DType: F32, Shape: []int{1 << 62, 8}}).Size(); n != 0 {
		t.Error("size of what can't be:", n)
	}
}
