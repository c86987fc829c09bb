package safetensors

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// The official library's file, made by testdata/official.py, holds every type that we know,
// scalars, empty tensors and names to escape. Written again in any order it is the same file.
func TestWriteEqualsOfficial(t *testing.T) {
	want, err := os.ReadFile("testdata/official.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, "testdata/official.safetensors")
	var tensors []Tensor
	used := map[DType]bool{}
	for _, name := range f.Names() {
		tensor, _ := f.Tensor(name)
		used[tensor.DType] = true
		tensors = append(tensors, tensor)
	}
	if len(used) != len(dtypes) {
		t.Fatalf("the file has %d of %d types", len(used), len(dtypes))
	}
	shuffle := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		shuffle.Shuffle(len(tensors), func(i, j int) { tensors[i], tensors[j] = tensors[j], tensors[i] })
		var got bytes.Buffer
		if err := Write(&got, f.Metadata(), tensors); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("differs from the official file:\n%q\n%q", got.Bytes(), want)
		}
	}
}

func TestWriteAligns(t *testing.T) {
	for length := range 9 {
		var b bytes.Buffer
		if err := Write(&b, nil, []Tensor{FromFloat32(strings.Repeat("x", length), nil, []float32{1})}); err != nil {
			t.Fatal(err)
		}
		if h, err := ReadHeader(bytes.NewReader(b.Bytes()), int64(b.Len())); err != nil || h.DataOffset%8 != 0 {
			t.Fatal(h, err)
		}
	}
}

func TestWriteSortsMetadata(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, map[string]string{"z": "1", "a": "2", "m": "3"}, nil); err != nil {
		t.Fatal(err)
	}
	if got := string(b.Bytes()[8:]); strings.TrimRight(got, " ") != `{"__metadata__":{"a":"2","m":"3","z":"1"}}` {
		t.Fatal(got)
	}
}

func TestWriteRefuses(t *testing.T) {
	x := FromFloat32("x", []int{1}, []float32{1})
	for name, c := range map[string]struct {
		metadata map[string]string
		tensors  []Tensor
		want     string
	}{
		"name twice":          {nil, []Tensor{x, x}, `tensor "x": given twice`},
		"reserved name":       {nil, []Tensor{FromFloat32("__metadata__", nil, []float32{1})}, "reserved"},
		"name not UTF-8":      {nil, []Tensor{FromFloat32("\xff", nil, []float32{1})}, "not valid UTF-8"},
		"metadata not UTF-8":  {map[string]string{"k": "\xff"}, nil, "not valid UTF-8"},
		"shape and bytes":     {nil, []Tensor{FromFloat32("x", []int{2}, []float32{1})}, "takes 8 bytes but has 4"},
		"negative dimension":  {nil, []Tensor{{"x", F32, []int{-1}, nil}}, "negative dimension"},
		"overflow":            {nil, []Tensor{{"x", F32, []int{1 << 31, 1 << 31, 0}, nil}}, "overflows"},
		"unknown dtype":       {nil, []Tensor{{"x", "F31", nil, nil}}, `unknown dtype "F31"`},
		"too many dimensions": {nil, []Tensor{{"x", U8, make([]int, maxRank+1), nil}}, "more than 32 dimensions"},
		"header too long":     {map[string]string{"k": strings.Repeat("x", maxHeader)}, nil, "above the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			err := Write(&b, c.metadata, c.tensors)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
			if b.Len() != 0 {
				t.Fatalf("%d bytes written nevertheless", b.Len())
			}
		})
	}
}

// full fails after some bytes, as a full disk does.
type full struct{ left int }

var errFull = errors.New("no space")

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWritePassesErrorsOn(t *testing.T) {
	x := FromFloat32("x", []int{1}, []float32{1})
	var whole bytes.Buffer
	if err := Write(&whole, nil, []Tensor{x}); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{0, whole.Len() - 1} { // within the header, within the data
		if err := Write(&full{left}, nil, []Tensor{x}); !errors.Is(err, errFull) {
			t.Fatal(err)
		}
	}
}
