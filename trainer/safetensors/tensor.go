package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// Tensor is one tensor's type, shape and bytes.
type Tensor struct {
	Name  string
	DType DType
	Shape []int  // empty for a scalar
	Data  []byte // little-endian, row-major. From a File: a read-only view, valid until Close; nil from an Outline
}

// Size is how many bytes Data has, or would have where it isn't there.
func (t Tensor) Size() int64 {
	if t.Data != nil {
		return int64(len(t.Data))
	}
	n, err := byteSize(t.DType, t.Shape)
	if err != nil {
		return 0 // nothing has this shape: a header with it is refused
	}
	return n
}

// Float32 returns the elements as float32, in a copy of its own: F32 as it is, F16 and BF16
// widened exactly, F64 narrowed to the nearest. Other types are an error.
func (t Tensor) Float32() ([]float32, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if same, ok := View[float32](t); ok && t.DType == F32 {
		return slices.Clone(same), nil
	}
	out := make([]float32, len(t.Data)/t.DType.Size())
	switch t.DType {
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case F16:
		for i := range out {
			out[i] = f16ToF32(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	case BF16:
		for i := range out {
			out[i] = bf16ToF32(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	case F64:
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:])))
		}
	default:
		return nil, badTensor(t.Name, "%s is not a floating-point type that can be read as float32", t.DType)
	}
	return out, nil
}

// View returns the elements in place, without a copy, as numbers of the same width: float32 for
// F32, uint16 for the bit patterns of F16 and BF16, and so on. ok is false when that cannot be:
// another width, data not aligned (a file whose header was not padded), or a big-endian machine;
// copy then. Views of a File are read-only (writing ends the program) and valid until Close.
func View[E uint8 | uint16 | uint32 | uint64 | int8 | int16 | int32 | int64 | float32 | float64](t Tensor) (elems []E, ok bool) {
	var zero E
	size := int(unsafe.Sizeof(zero))
	if t.DType.Size() != size || len(t.Data)%size != 0 || !littleEndian {
		return nil, false
	}
	if len(t.Data) == 0 {
		return []E{}, true
	}
	first := unsafe.Pointer(unsafe.SliceData(t.Data))
	if uintptr(first)%unsafe.Alignof(zero) != 0 {
		return nil, false
	}
	return unsafe.Slice((*E)(first), len(t.Data)/size), true
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// FromFloat32 makes an F32 tensor of data, which must have as many elements as the shape; Write
// refuses it otherwise. On a little-endian machine the tensor is data itself, not a copy.
func FromFloat32(name string, shape []int, data []float32) Tensor {
	if littleEndian {
		bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data))
		return Tensor{Name: name, DType: F32, Shape: slices.Clone(shape), Data: bytes}
	}
	out := make([]byte, 4*len(data))
	for i, v := range data {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
	}
	return Tensor{Name: name, DType: F32, Shape: slices.Clone(shape), Data: out}
}

// FromFloat32As is FromFloat32 into F32, F16 or BF16, each element rounded to the nearest, ties
// to even. Values beyond F16's or BF16's range become infinities.
func FromFloat32As(dtype DType, name string, shape []int, data []float32) (Tensor, error) {
	var narrow func(float32) uint16
	switch dtype {
	case F32:
		return FromFloat32(name, shape, data), nil
	case F16:
		narrow = f32ToF16
	case BF16:
		narrow = f32ToBF16
	default:
		return Tensor{}, badTensor(name, "float32 data cannot be written as %s", dtype)
	}
	out := make([]byte, 2*len(data))
	for i, v := range data {
		binary.LittleEndian.PutUint16(out[2*i:], narrow(v))
	}
	return Tensor{Name: name, DType: dtype, Shape: slices.Clone(shape), Data: out}, nil
}

// check reports whether type, shape and bytes agree.
func (t Tensor) check() error {
	need, err := byteSize(t.DType, t.Shape)
	if err != nil {
		return badTensor(t.Name, "%v", err)
	}
	if int64(len(t.Data)) != need {
		return badTensor(t.Name, "%s %v takes %d bytes but has %d", t.DType, t.Shape, need, len(t.Data))
	}
	return nil
}

// String names the tensor for messages and logs, without its data.
func (t Tensor) String() string { return fmt.Sprintf("%s %s%v", t.Name, t.DType, t.Shape) }
