package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"

	"github.com/shannon-control/scu/trainer/safetensors"
)

// File is a file that was read.
type File struct {
	Meta    map[string]any // values as Write takes them
	Keys    []string       // of Meta, in the file's order
	Tensors []Stored
}

// Stored is a tensor of a file. Shape is row-major.
type Stored struct {
	Name  string
	Type  Type
	Shape []int
	Data  []byte
}

// Open reads a file whole.
func Open(path string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(b)
}

// Parse reads a file's bytes, which the tensors then share. What isn't of the format, or
// has values or tensors of types that this package doesn't write, is an error.
func Parse(b []byte) (*File, error) {
	r := &reader{b: b}
	if string(r.take(4)) != magic || r.u32() != version {
		return nil, fmt.Errorf("gguf: not a file of version %d", version)
	}
	tensors, pairs := r.u64(), r.u64()
	f := &File{Meta: map[string]any{}}
	for ; pairs > 0 && r.err == nil; pairs-- {
		key := r.text()
		if _, twice := f.Meta[key]; twice {
			return nil, fmt.Errorf("gguf: %.80q is there twice", key)
		}
		f.Meta[key] = r.value()
		f.Keys = append(f.Keys, key)
	}
	var offsets []uint64
	for ; tensors > 0 && r.err == nil; tensors-- {
		t := Stored{Name: r.text()}
		dims := r.u32()
		if dims == 0 || dims > 4 {
			r.fail("tensor %.80q has %d dimensions", t.Name, dims)
			break
		}
		t.Shape = make([]int, dims)
		for i := range t.Shape {
			d := r.u64()
			if d == 0 || d > math.MaxInt32 {
				r.fail("tensor %.80q has a dimension of %d", t.Name, d)
			}
			t.Shape[len(t.Shape)-1-i] = int(min(d, math.MaxInt32))
		}
		t.Type = Type(r.u32())
		offsets = append(offsets, r.u64())
		f.Tensors = append(f.Tensors, t)
	}
	r.take(int(aligned(int64(r.at))) - r.at)
	if r.err != nil {
		return nil, r.err
	}
	data := b[r.at:]
	for i := range f.Tensors {
		t := &f.Tensors[i]
		size, ok := t.Type.size(t.Shape)
		if !ok {
			return nil, fmt.Errorf("gguf: tensor %.80q of shape %v has type %d", t.Name, t.Shape, t.Type)
		}
		if from := offsets[i]; from%alignment != 0 || from > uint64(len(data)) || uint64(size) > uint64(len(data))-from {
			return nil, fmt.Errorf("gguf: tensor %.80q lies outside the file", t.Name)
		}
		t.Data = data[offsets[i]:][:size]
	}
	return f, nil
}

// Tensor finds a tensor by name.
func (f *File) Tensor(name string) (Stored, bool) {
	for _, t := range f.Tensors {
		if t.Name == name {
			return t, true
		}
	}
	return Stored{}, false
}

// reader reads little-endian values until one fails.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("gguf: "+format, args...)
	}
}

// take returns the next n bytes; zeros if there are fewer.
func (r *reader) take(n int) []byte {
	if r.err == nil && (n < 0 || n > len(r.b)-r.at) {
		r.fail("the file breaks off at byte %d", len(r.b))
	}
	if r.err != nil {
		return make([]byte, 8)[:min(max(n, 0), 8)]
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// count is a length, of items of at least so many bytes.
func (r *reader) count(least int) int {
	n := r.u64()
	if n > uint64(len(r.b)-r.at)/uint64(least) {
		r.fail("the file breaks off at byte %d", len(r.b))
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return string(r.take(r.count(1))) }

func (r *reader) value() any {
	switch kind := r.u32(); kind {
	case kindUint32:
		return r.u32()
	case kindInt32:
		return int32(r.u32())
	case kindFloat32:
		return math.Float32frombits(r.u32())
	case kindBool:
		return r.take(1)[0] != 0
	case kindString:
		return r.text()
	case kindArray:
		return r.array()
	default:
		r.fail("a value of kind %d", kind)
		return nil
	}
}

func (r *reader) array() any {
	switch kind := r.u32(); kind {
	case kindString:
		out := make([]string, r.count(8))
		for i := range out {
			out[i] = r.text()
		}
		return out
	case kindFloat32:
		out := make([]float32, r.count(4))
		for i := range out {
			out[i] = math.Float32frombits(r.u32())
		}
		return out
	case kindInt32:
		out := make([]int32, r.count(4))
		for i := range out {
			out[i] = int32(r.u32())
		}
		return out
	case kindBool:
		out := make([]bool, r.count(1))
		for i := range out {
			out[i] = r.take(1)[0] != 0
		}
		return out
	default:
		r.fail("an array of kind %d", kind)
		return nil
	}
}

// decode widens a tensor's elements.
func decode(t Stored) ([]float32, error) {
	dtype := safetensors.F32
	switch t.Type {
	case F16:
		dtype = safetensors.F16
	case BF16:
		dtype = safetensors.BF16
	case Q8_0:
		var out []float32
		for b := 0; b+34 <= len(t.Data); b += 34 {
			scale, err := safetensors.Tensor{DType: safetensors.F16, Shape: []int{1}, Data: t.Data[b : b+2]}.Float32()
			if err != nil {
				return nil, err
			}
			for _, q := range t.Data[b+2 : b+34] {
				out = append(out, scale[0]*float32(int8(q)))
			}
		}
		return out, nil
	}
	_, bytes := t.Type.block()
	return safetensors.Tensor{Name: t.Name, DType: dtype, Shape: []int{len(t.Data) / int(bytes)}, Data: t.Data}.Float32()
}
