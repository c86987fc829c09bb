// Package gguf writes models and LoRA adapters in GGUF, the format of llama.cpp. [Model] and
// [Adapter] convert; [Write] makes the container, version 3 of docs/gguf.md in the ggml
// repository. Its tests read what it writes.
//
// Names, metadata and the order of rows are those of llama.cpp's own converters. Families
// whose layout this package doesn't have are refused by name.
package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	magic     = "GGUF"
	version   = 3
	alignment = 32 // of each tensor's bytes
)

// Type is a tensor's element type, by ggml's numbers.
type Type uint32

const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8 // blocks of 32: an F16 scale and 32 int8
	BF16 Type = 30
)

// block is how many elements stand together, and in how many bytes.
func (t Type) block() (elements, bytes int64) {
	switch t {
	case F32:
		return 1, 4
	case F16, BF16:
		return 1, 2
	case Q8_0:
		return 32, 34
	}
	return 0, 0
}

// size is the bytes of a tensor of a shape, row-major, false if it can't have that type.
func (t Type) size(shape []int) (int64, bool) {
	elements, bytes := t.block()
	if elements == 0 || len(shape) == 0 || len(shape) > 4 || int64(shape[len(shape)-1])%elements != 0 {
		return 0, false
	}
	n := int64(1)
	for _, d := range shape {
		if d <= 0 || n > math.MaxInt64/64/int64(d) {
			return 0, false
		}
		n *= int64(d)
	}
	return n / elements * bytes, true
}

// Pair is one entry of a file's metadata: its value is a uint32, int32, float32, bool or
// string, or a slice of string, float32, int32 or bool.
type Pair struct {
	Key   string
	Value any
}

// Tensor is one tensor to write. Shape is row-major, as in safetensors; the file has it the
// other way round. Data is asked for when its turn has come, so that a file is never held
// in memory whole.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int
	Data  func() ([]byte, error)
}

// kinds of values in the metadata.
const (
	kindUint32  uint32 = 4
	kindInt32   uint32 = 5
	kindFloat32 uint32 = 6
	kindBool    uint32 = 7
	kindString  uint32 = 8
	kindArray   uint32 = 9
)

// Write writes a file of metadata and tensors, in this order.
func Write(to io.Writer, meta []Pair, tensors []Tensor) error {
	w := &writer{w: bufio.NewWriterSize(to, 1<<20)}
	w.bytes([]byte(magic))
	w.put(uint32(version))
	w.put(uint64(len(tensors)))
	w.put(uint64(len(meta)))
	for _, p := range meta {
		w.text(p.Key)
		w.value(p.Value)
	}
	var offset int64
	sizes := make([]int64, len(tensors))
	for i, t := range tensors {
		size, ok := t.Type.size(t.Shape)
		if !ok {
			return fmt.Errorf("gguf: tensor %s of shape %v can't have type %d", t.Name, t.Shape, t.Type)
		}
		sizes[i] = size
		w.text(t.Name)
		w.put(uint32(len(t.Shape)))
		for k := len(t.Shape) - 1; k >= 0; k-- {
			w.put(uint64(t.Shape[k]))
		}
		w.put(uint32(t.Type))
		w.put(uint64(offset))
		offset += aligned(size)
	}
	w.pad()
	for i, t := range tensors {
		if w.err != nil {
			break
		}
		data, err := t.Data()
		if err != nil {
			return err
		}
		if int64(len(data)) != sizes[i] {
			return fmt.Errorf("gguf: tensor %s has %d bytes, not %d", t.Name, len(data), sizes[i])
		}
		w.bytes(data)
		w.pad()
	}
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

func aligned(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

// writer writes little-endian values until one fails.
type writer struct {
	w   *bufio.Writer
	at  int64
	err error
}

func (w *writer) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
		w.at += int64(len(b))
	}
}

func (w *writer) put(v any) {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		w.err = err
	}
	w.bytes(b)
}

func (w *writer) text(s string) {
	w.put(uint64(len(s)))
	w.bytes([]byte(s))
}

func (w *writer) pad() { w.bytes(make([]byte, aligned(w.at)-w.at)) }

func (w *writer) value(v any) {
	switch v := v.(type) {
	case uint32:
		w.put(kindUint32)
		w.put(v)
	case int32:
		w.put(kindInt32)
		w.put(v)
	case float32:
		w.put(kindFloat32)
		w.put(v)
	case bool:
		w.put(kindBool)
		w.put(v)
	case string:
		w.put(kindString)
		w.text(v)
	case []string:
		w.array(kindString, len(v))
		for _, s := range v {
			w.text(s)
		}
	case []float32:
		w.array(kindFloat32, len(v))
		w.put(v)
	case []int32:
		w.array(kindInt32, len(v))
		w.put(v)
	case []bool:
		w.array(kindBool, len(v))
		w.put(v)
	default:
		w.err = fmt.Errorf("gguf: no value of type %T", v)
	}
}

func (w *writer) array(kind uint32, n int) {
	w.put(kindArray)
	w.put(kind)
	w.put(uint64(n))
}
